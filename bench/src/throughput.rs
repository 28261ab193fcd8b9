//! TCP throughput, small packets a second and TCP transactions a second, over the aggregation and over the
//! plain veth beside it, in turn.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::aggregator::System;
use crate::flood;
use crate::network::{HOST_LINK, Network, OVER_AGGREGATION, OVER_PLAIN, Path, packets};
use crate::report::{Spread, Table};

const PAIRS: usize = 9;
const LENGTH: Duration = Duration::from_secs(2);
/// Bytes that are given to TCP at once.
const BLOCK: usize = 128 << 10;

/// Measures one path; the result is a number a second.
type Measurement = fn(&Network, Path) -> Result<f64>;

/// Measures and returns the table.
pub fn measure() -> Result<String> {
    let network = Network::new()?;
    let _dlmp = System::Dlmp.start(&network)?;
    network.wait_for(OVER_PLAIN)?;
    let rows: [(&str, Measurement, f64); 3] = [
        ("TCP, Gbit/s", tcp_bits, 1e9),
        ("64-byte packets received, thousand/s", small_packets, 1e3),
        ("TCP request/response, thousand/s", transactions, 1e3),
    ];
    let mut table = Table::new(&["from guest to host", "aggregation", "plain veth", "ratio, pair by pair"]);
    for (name, measurement, unit) in rows {
        eprintln!("{name}: {PAIRS} pairs");
        let (mut aggregation, mut plain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            // Each goes first in turn, so that a drift of the machine favours neither.
            let mut order = [OVER_AGGREGATION, OVER_PLAIN];
            if pair % 2 == 1 {
                order.reverse();
            }
            let mut values = [measurement(&network, order[0])?, measurement(&network, order[1])?];
            if pair % 2 == 1 {
                values.reverse();
            }
            aggregation.push(values[0] / unit);
            plain.push(values[1] / unit);
            ratios.push(values[0] / values[1]);
        }
        let [aggregation, plain] = [aggregation, plain].map(|values| Spread::of(values).text(2));
        table.row(&[name, &aggregation, &plain, &Spread::of(ratios).text(3)]);
    }
    Ok(format!("In turn, {PAIRS} pairs of {} s each. Aim: a ratio of 0.95 or more.\n\n{table}", LENGTH.as_secs()))
}

/// Bits a second that the host's program receives.
fn tcp_bits(network: &Network, path: Path) -> Result<f64> {
    let [mut sender, mut receiver] = connection(network, path)?;
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

/// Packets a second that the host's link receives.
fn small_packets(network: &Network, path: Path) -> Result<f64> {
    let before = packets(&network.host, HOST_LINK)?[0];
    let taken = flood::send(&network.guest, (&network.host, path.host), LENGTH)?;
    let after = packets(&network.host, HOST_LINK)?[0];
    Ok((after - before) as f64 / taken.as_secs_f64())
}

/// Exchanges of a byte for a byte a second.
fn transactions(network: &Network, path: Path) -> Result<f64> {
    let [mut client, mut server] = connection(network, path)?;
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

/// A TCP connection from the guest to the host: the guest's end, the host's end.
fn connection(network: &Network, path: Path) -> Result<[TcpStream; 2]> {
    let listener = network.host.enter(|| TcpListener::bind(SocketAddr::new(path.host, 0)))??;
    let address = listener.local_addr()?;
    let guest = network.guest.enter(|| TcpStream::connect(address))??;
    let (host, _) = listener.accept()?;
    for end in [&guest, &host] {
        end.set_nodelay(true)?;
    }
    Ok([guest, host])
}
