//! The control socket of an emulator, as far as links need it (QEMU Machine Protocol, docs/interop/qmp-spec of QEMU).
//!
//! What comes from the emulator is read into a buffer with a limit and trusted for nothing: a message that is not
//! understood ends the connection.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an emulator may take to answer: it does so at once, unless it hangs or is stopped.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The longest message that is read, in bytes: those that concern us have some hundred.
const MESSAGE_MAX: usize = 64 << 10;

/// Something that an emulator says, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The command of this number was carried out.
    Done(u64),
    /// The command of this number was refused, and why.
    Refused(u64, String),
    /// The machine runs on, maybe with what it brought along from another host (event `RESUME`).
    Resumed,
    /// Anything else.
    Other,
}

/// A connection that is ready for commands.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// What was read and not taken yet.
    waiting: Vec<u8>,
    commands: u64,
}

impl Connection {
    /// Connects to the socket of an emulator.
    ///
    /// # Errors
    /// Those of connect(2); `TimedOut` when it does not answer, such as while it serves another program, and
    /// `InvalidData` when it does not answer as an emulator.
    pub async fn open(path: &Path) -> io::Result<Self> {
        let stream = in_time(UnixStream::connect(path)).await?;
        let mut connection = Self { stream, waiting: Vec::new(), commands: 0 };
        in_time(connection.greet()).await?;
        Ok(connection)
    }

    async fn greet(&mut self) -> io::Result<()> {
        let greeting = self.line().await?;
        if !greeting.get("QMP").is_some_and(Value::is_object) {
            return Err(nonsense("it does not greet like an emulator"));
        }
        let number = self.send("qmp_capabilities", json!({})).await?;
        loop {
            match self.message().await? {
                Message::Done(done) if done == number => return Ok(()),
                Message::Refused(_, why) => return Err(nonsense(&why)),
                _ => {}
            }
        }
    }

    /// Gives the network device of this name a carrier or takes it away, and returns the number of the command.
    ///
    /// # Errors
    /// Those of write(2); `TimedOut` when the emulator does not read.
    pub async fn set_link(&mut self, name: &str, up: bool) -> io::Result<u64> {
        in_time(self.send("set_link", json!({ "name": name, "up": up }))).await
    }

    /// Waits for the next message. Loses nothing when the wait for it is given up.
    ///
    /// # Errors
    /// Those of read(2); `UnexpectedEof` when the emulator has ended, `InvalidData` when it does not speak the protocol.
    pub async fn message(&mut self) -> io::Result<Message> {
        let line = self.line().await?;
        let number = line.get("id").and_then(Value::as_u64);
        Ok(if let Some(event) = line.get("event") {
            if event == "RESUME" { Message::Resumed } else { Message::Other }
        } else if let (Some(error), Some(number)) = (line.get("error"), number) {
            let why = error.get("desc").and_then(Value::as_str).unwrap_or("it does not say why");
            Message::Refused(number, why.chars().filter(|c| !c.is_control()).take(200).collect())
        } else if let (Some(_), Some(number)) = (line.get("return"), number) {
            Message::Done(number)
        } else {
            return Err(nonsense("neither an event nor an answer"));
        })
    }

    async fn send(&mut self, command: &str, arguments: Value) -> io::Result<u64> {
        self.commands += 1;
        let mut line = json!({ "execute": command, "arguments": arguments, "id": self.commands }).to_string();
        line.push('\n');
        self.stream.write_all(line.as_bytes()).await?;
        Ok(self.commands)
    }

    /// The next line, an object of JSON.
    async fn line(&mut self) -> io::Result<Value> {
        loop {
            if let Some(end) = self.waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                let value: Value = serde_json::from_slice(&line).map_err(|error| nonsense(&error.to_string()))?;
                return if value.is_object() { Ok(value) } else { Err(nonsense("no object")) };
            }
            if self.waiting.len() > MESSAGE_MAX {
                return Err(nonsense("a message without end"));
            }
            if self.stream.read_buf(&mut self.waiting).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what it says is not QMP: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn said(bytes: &[u8]) -> io::Result<Message> {
        let (stream, mut emulator) = UnixStream::pair().unwrap();
        let mut connection = Connection { stream, waiting: Vec::new(), commands: 0 };
        // More than the socket holds waits for a reader, which may be gone by then.
        let (message, _) = tokio::join!(
            async {
                let message = connection.message().await;
                drop(connection);
                message
            },
            async {
                let written = emulator.write_all(bytes).await;
                drop(emulator);
                written
            },
        );
        message
    }

    #[tokio::test(flavor = "current_thread")]
    async fn messages_are_understood() {
        for (line, message) in [
            (r#"{"return": {}, "id": 7}"#, Message::Done(7)),
            (
                r#"{"id": 8, "error": {"class": "DeviceNotFound", "desc": "Device 'vnet6' not found"}}"#,
                Message::Refused(8, "Device 'vnet6' not found".into()),
            ),
            (r#"{"id": 8, "error": {"desc": "a\u001bb\n"}}"#, Message::Refused(8, "ab".into())),
            (r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESUME"}"#, Message::Resumed),
            (r#"{"event": "STOP"}"#, Message::Other),
        ] {
            assert_eq!(said(format!("{line}\r\n").as_bytes()).await.unwrap(), message, "{line}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_no_message_is_an_error() {
        for line in
            ["", "7", "[]", "{}", "{", "\u{0}", r#"{"return": {}}"#, r#"{"id": 1}"#, r#"{"return": {}, "id": -1}"#]
        {
            let error = said(format!("{line}\n").as_bytes()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{line}");
        }
        assert_eq!(said(b"{\"event\":").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let endless = vec![b' '; 4 * MESSAGE_MAX];
        assert_eq!(said(&endless).await.unwrap_err().to_string(), "what it says is not QMP: a message without end");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(said(&bytes));
        }
    }
}
