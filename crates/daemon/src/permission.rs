//! Who may change things through a control socket.

use zlink::Connection;
use zlink::connection::socket::FetchPeerCredentials;

/// Members of this group may change things, as root may.
const GROUP: &str = "dlmp";

/// The caller may look but not change.
#[derive(Debug)]
pub struct Denied {
    /// Why.
    pub reason: String,
    /// The next command to type.
    pub remedy: String,
}

impl From<Denied> for dlmp_api::Error {
    fn from(Denied { reason, remedy }: Denied) -> Self {
        Self::NotPermitted { reason, remedy }
    }
}

impl From<Denied> for dlmp_api::ldm::Error {
    fn from(Denied { reason, remedy }: Denied) -> Self {
        Self::NotPermitted { reason, remedy }
    }
}

/// Root and the members of the group may change things; the kernel says who asks (SO_PEERCRED and
/// SO_PEERGROUPS, unix(7)).
///
/// # Errors
/// It is somebody else.
pub async fn may_change<S>(connection: &mut Connection<S>) -> Result<(), Denied>
where
    S: zlink::connection::Socket,
    S::ReadHalf: FetchPeerCredentials,
{
    let denied = |reason: String| Denied {
        reason,
        remedy: "sudo, or as root: usermod -a -G dlmp USER (then log in again)".into(),
    };
    let peer = (connection.peer_credentials().await)
        .map_err(|error| denied(format!("the kernel does not say who asks: {error}")))?;
    let user = peer.unix_user_id().as_raw();
    if user == 0 {
        return Ok(());
    }
    let group = nix::unistd::Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw());
    let member = std::iter::once(&peer.unix_primary_group_id())
        .chain(peer.unix_supplementary_group_ids())
        .any(|gid| Some(gid.as_raw()) == group);
    if member {
        return Ok(());
    }
    Err(denied(format!("user {user} may look but not change: that takes root or the group {GROUP}")))
}
