//! What a way through the network carries: TCP, small packets, TCP transactions.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use dlmp_testbed::Namespace;

use crate::flood;
use crate::network::packets;
use crate::report::Spread;

/// How often each of two ways is measured: many short pairs tell more than few long ones, since the machine drifts.
pub const PAIRS: usize = 41;
/// How long each time.
pub const LENGTH: Duration = Duration::from_millis(500);
/// Bytes that are given to TCP at once.
const BLOCK: usize = 128 << 10;

/// A way from one namespace to another.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// Where it begins.
    pub from: &'a Namespace,
    /// Where it ends.
    pub to: &'a Namespace,
    /// An address there.
    pub address: IpAddr,
    /// The link there that packets come in by.
    pub link: &'a str,
}

/// Measures one way; the result is a number a second.
type Measurement = fn(Way<'_>) -> Result<f64>;

/// Compares what two ways carry, pair by pair, and has each row written: name, first way, second way, ratio.
pub fn compare(ways: [Way<'_>; 2], mut row: impl FnMut(&[&str])) -> Result<()> {
    let measurements: [(&str, Measurement, f64); 3] = [
        ("TCP, Gbit/s", tcp_bits, 1e9),
        ("64-byte packets received, thousand/s", small_packets, 1e3),
        ("TCP request/response, thousand/s", transactions, 1e3),
    ];
    for (name, measurement, unit) in measurements {
        eprintln!("{name}: {PAIRS} pairs");
        let (mut firsts, mut seconds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            // Each goes first in turn, so that a drift of the machine favours neither.
            let mut order = ways;
            if pair % 2 == 1 {
                order.reverse();
            }
            let mut values = [measurement(order[0])?, measurement(order[1])?];
            if pair % 2 == 1 {
                values.reverse();
            }
            firsts.push(values[0] / unit);
            seconds.push(values[1] / unit);
            ratios.push(values[0] / values[1]);
        }
        let [first, second] = [firsts, seconds].map(|values| Spread::of(values).text(2));
        row(&[name, &first, &second, &Spread::of(ratios).text(3)]);
    }
    Ok(())
}

/// Bits a second that the receiving program gets.
fn tcp_bits(way: Way<'_>) -> Result<f64> {
    let [mut sender, mut receiver] = connection(way)?;
    let receiver = thread::spawn(move || -> io::Result<f64> {
        let (mut block, mut bytes, start) = (vec![0; BLOCK], 0u64, Instant::now());
        loop {
            match receiver.read(&mut block)? {
                0 => return Ok(bytes as f64 * 8.0 / start.elapsed().as_secs_f64()),
                count => bytes += count as u64,
            }
        }
    });
    let (block, start) = (vec![0; BLOCK], Instant::now());
    while start.elapsed() < LENGTH {
        sender.write_all(&block)?;
    }
    drop(sender);
    Ok(receiver.join().map_err(|_| anyhow!("the receiver ended badly"))??)
}

/// Packets a second that the link receives.
fn small_packets(way: Way<'_>) -> Result<f64> {
    let before = packets(way.to, way.link)?[0];
    let taken = flood::send(way.from, (way.to, way.address), LENGTH)?;
    let after = packets(way.to, way.link)?[0];
    Ok((after - before) as f64 / taken.as_secs_f64())
}

/// Exchanges of a byte for a byte a second.
fn transactions(way: Way<'_>) -> Result<f64> {
    let [mut client, mut server] = connection(way)?;
    let server = thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        while server.read(&mut byte)? == 1 {
            server.write_all(&byte)?;
        }
        Ok(())
    });
    let (mut count, mut byte, start) = (0u32, [0], Instant::now());
    while start.elapsed() < LENGTH {
        client.write_all(&byte)?;
        client.read_exact(&mut byte)?;
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    drop(client);
    server.join().map_err(|_| anyhow!("the server ended badly"))??;
    Ok(rate)
}

/// A TCP connection: the end where it begins, the other end.
fn connection(way: Way<'_>) -> Result<[TcpStream; 2]> {
    let listener = way.to.enter(|| TcpListener::bind(SocketAddr::new(way.address, 0)))??;
    let address = listener.local_addr()?;
    let begin = way.from.enter(|| TcpStream::connect(address))??;
    let (end, _) = listener.accept()?;
    for socket in [&begin, &end] {
        socket.set_nodelay(true)?;
    }
    Ok([begin, end])
}
