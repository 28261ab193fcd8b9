//! Why a request was not carried out: one type a service, since varlink names an error after its interface.

/// Defines the error that every method of a service shares.
macro_rules! service_error {
    ($interface:literal) => {
        /// Why a request was not carried out. A request that ends with an error has changed nothing.
        #[derive(Debug, Clone, PartialEq, Eq, zlink::ReplyError, zlink::introspect::ReplyError)]
        #[zlink(interface = $interface)]
        pub enum Error {
            /// The request is not acceptable as it stands.
            Refused {
                /// What was refused and why.
                reason: String,
                /// The next command to type; empty when there is none.
                remedy: String,
            },
            /// The caller is neither root nor in the group `dlmp`.
            NotPermitted {
                /// What was refused and why.
                reason: String,
                /// The next command to type; empty when there is none.
                remedy: String,
            },
            /// The system did not do its part; what had been done was undone.
            Failed {
                /// What failed and how.
                reason: String,
                /// The next command to type; empty when there is none.
                remedy: String,
            },
        }

        impl std::fmt::Display for Error {
            /// The reason, and on a line of its own the next command to type.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let (Self::Refused { reason, remedy }
                | Self::NotPermitted { reason, remedy }
                | Self::Failed { reason, remedy }) = self;
                f.write_str(reason)?;
                if !remedy.is_empty() {
                    write!(f, "\n  try: {remedy}")?;
                }
                Ok(())
            }
        }

        impl std::error::Error for Error {}

        impl Error {
            /// A refusal with a reason and the next command to type (may be empty).
            pub fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
                Self::Refused { reason: reason.into(), remedy: remedy.into() }
            }

            /// A failure of the system, with what failed.
            pub fn failed(reason: impl Into<String>) -> Self {
                Self::Failed { reason: reason.into(), remedy: String::new() }
            }
        }
    };
}

pub(crate) use service_error;
