//! TCP throughput, small packets a second and TCP transactions a second, over the aggregation and over the
//! plain veth beside it, in turn.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::report::Spread;
use crate::site::{OVER_AGGR, OVER_PLAIN, Site, output};

const PAIRS: usize = 7;
const LENGTH: Duration = Duration::from_secs(2);
/// With Ethernet, IP and UDP headers and the frame's checksum: 64 bytes on the wire.
const SMALL: [u8; 18] = [0; 18];
/// Port for discarded packets, and the first one for connections.
const DISCARD: u16 = 9;
const TRANSACTIONS: u16 = 7000;

/// One measurement of a path to a host, in the unit of its row.
type Measurement = fn(&Site, IpAddr, u16) -> anyhow::Result<f64>;

/// Measures and returns the table.
pub fn measure(site: &Site) -> anyhow::Result<String> {
    let rows: [(&str, Measurement, f64); 3] = [
        ("TCP, Gbit/s", tcp, 1e9),
        ("64-byte packets received, thousand/s", packets, 1e3),
        ("TCP request/response, thousand/s", transactions, 1e3),
    ];
    let mut table = format!(
        "\n## Throughput\n\nGuest to host, the aggregation and the plain veth beside it in turn, {PAIRS} pairs of {} s. Aim: a ratio of 0.95.\n\n| what | aggr0 | plain veth | ratio, pair by pair |\n|---|---|---|---|\n",
        LENGTH.as_secs()
    );
    for (name, measurement, unit) in rows {
        let (mut over_aggr, mut over_plain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            let port = TRANSACTIONS + 2 * pair as u16;
            // The order alternates, so that drift favours neither.
            let first_aggr = pair % 2 == 0;
            let a = if first_aggr { measurement(site, OVER_AGGR.0, port)? } else { 0.0 };
            let plain = measurement(site, OVER_PLAIN.0, port + 1)?;
            let a = if first_aggr { a } else { measurement(site, OVER_AGGR.0, port)? };
            over_aggr.push(a / unit);
            over_plain.push(plain / unit);
            ratios.push(a / plain);
        }
        let [a, plain] = [over_aggr, over_plain].map(|values| Spread::of(values).text(2));
        table += &format!("| {name} | {a} | {plain} | {} |\n", Spread::of(ratios).text(3));
    }
    Ok(table)
}

fn tcp(site: &Site, host: IpAddr, port: u16) -> anyhow::Result<f64> {
    let port = port.to_string();
    let mut server = site.host.command("iperf3");
    let mut server = server.args(["-s", "-1", "-p", &port]).stdout(std::process::Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_millis(300));
    let mut client = site.guest.command("iperf3");
    let seconds = LENGTH.as_secs().to_string();
    let text = output(client.args(["-c", &host.to_string(), "-p", &port, "-t", &seconds, "-J"]))?;
    server.wait()?;
    let answer: Value = serde_json::from_str(&text)?;
    answer["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 gave no figure")
}

fn packets(site: &Site, host: IpAddr, _port: u16) -> anyhow::Result<f64> {
    // Somebody listens, so that no packet is answered by an error.
    let _sink = site.host.enter(|| UdpSocket::bind(SocketAddr::new(host, DISCARD)))??;
    let before = received(site)?;
    let sent = site.guest.enter(|| -> std::io::Result<Duration> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(SocketAddr::new(host, DISCARD))?;
        let start = Instant::now();
        while start.elapsed() < LENGTH {
            for _ in 0..64 {
                // A full queue is what a flood is to meet.
                let _ = socket.send(&SMALL);
            }
        }
        Ok(start.elapsed())
    })??;
    std::thread::sleep(Duration::from_millis(100));
    Ok((received(site)? - before) / sent.as_secs_f64())
}

fn received(site: &Site) -> anyhow::Result<f64> {
    let mut command = site.host.command("ip");
    let links: Value = serde_json::from_str(&output(command.args(["-j", "-s", "link", "show", "dev", "net0"]))?)?;
    links[0]["stats64"]["rx"]["packets"].as_f64().context("ip shows no counter")
}

fn transactions(site: &Site, host: IpAddr, port: u16) -> anyhow::Result<f64> {
    let address = SocketAddr::new(host, port);
    let listener = site.host.enter(|| TcpListener::bind(address))??;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let rate = site.guest.enter(|| -> std::io::Result<f64> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (start, mut count, mut byte) = (Instant::now(), 0u32, [0]);
        while start.elapsed() < LENGTH {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            count += 1;
        }
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    })??;
    server.join().map_err(|_| anyhow::anyhow!("the server of the transactions ended badly"))??;
    Ok(rate)
}
