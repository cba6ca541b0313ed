//! A server on loopback that keeps the requests it gets and answers as the test says.

use std::io::{BufRead, BufReader, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Counts connections and keeps requests until it is dropped with the process.
pub struct Receiver {
    pub port: u16,
    connections: Arc<Mutex<usize>>,
    requests: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Runs this for each connection after its request was read, and then closes the connection.
    pub fn start(answer: impl Fn(&mut TcpStream) -> Result<()> + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<Received>>> = Arc::default();
        let kept = requests.clone();
        let receiver = Self::raw(move |stream| {
            let request = read(stream)?;
            kept.lock().expect("requests").push(request);
            answer(stream)
        });
        Self { requests, ..receiver }
    }

    /// Runs this for each connection without reading from it, and then closes the connection.
    pub fn raw(conduct: impl Fn(&mut TcpStream) -> Result<()> + Send + Sync + 'static) -> Self {
        // Listens on both families if there are two: a canary hears every spelling of loopback.
        let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let receiver = Self { port, connections: Arc::default(), requests: Arc::default() };
        let (connections, conduct) = (receiver.connections.clone(), Arc::new(conduct));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                *connections.lock().expect("connections") += 1;
                let conduct = conduct.clone();
                thread::spawn(move || conduct(&mut stream));
            }
        });
        receiver
    }

    /// Answers everything with this status line and these headers.
    pub fn answering(head: &'static str) -> Self {
        Self::start(move |stream| {
            write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?token=hidden", self.port)
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("connections")
    }

    pub fn requests(&self) -> Vec<Received> {
        self.requests.lock().expect("requests").clone()
    }
}

/// Reads a whole request. A client that dies while it sends leaves less, which is no request: it is
/// neither kept nor answered.
fn read(stream: &mut TcpStream) -> Result<Received> {
    let mut reader = BufReader::new(stream);
    let mut request = Received { head: String::new(), body: Vec::new() };
    while !request.head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request.head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    Ok(request)
}
