//! A real cluster, and a client that follows it: a map of the slots, redirections, reconnections.

use std::collections::hash_map::{Entry, HashMap};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::resp::Connection;
use crate::support::server::free_port;
use crate::support::{cli, eventually, Reply, Server, DEADLINE};

/// Slots of a cluster.
const SLOTS: usize = 16384;

/// Primaries, each with a replica, and nodes that were added.
pub struct Cluster {
    /// The nodes, dead ones too.
    pub nodes: Vec<Server>,
}

/// What a node says of one node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub id: String,
    /// Its port.
    pub port: u16,
    /// Whether it is a primary.
    pub is_primary: bool,
    /// The name of a replica's primary; "-" for a primary.
    pub primary: String,
    /// How many slots it owns.
    pub slots: usize,
}

impl Cluster {
    /// A cluster of three primaries with a replica each, in which every node serves. A node that says nothing for
    /// `timeout` is taken for dead.
    pub fn start(timeout: Duration) -> Self {
        Self::with(timeout, &[])
    }

    /// The same, with these lines in every node's configuration file.
    pub fn with(timeout: Duration, lines: &[&str]) -> Self {
        let nodes: Vec<Server> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| Self::node(timeout, lines)))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().expect("a node starts"))
                .collect()
        });
        let cluster = Cluster { nodes };
        let addresses: Vec<String> = cluster.nodes.iter().map(address).collect();
        let mut create = vec!["create"];
        create.extend(addresses.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1"]);
        cluster.manage(&create);
        cluster.await_serving();
        cluster
    }

    fn node(timeout: Duration, lines: &[&str]) -> Server {
        let start = || {
            let port = format!("cluster-port {}", free_port());
            let timeout = format!("cluster-node-timeout {}", timeout.as_millis());
            let own = ["cluster-enabled yes", &port, &timeout];
            Server::try_with_module_arguments("", &[&own, lines].concat())
        };
        // Another process may take the second port between its choice and its use.
        let mut node = start();
        for _ in 0..4 {
            match &node {
                Err(refusal) if refusal.log.contains("in use") => node = start(),
                _ => break,
            }
        }
        node.unwrap_or_else(|refusal| panic!("a node did not start: {refusal:?}"))
    }

    /// Starts one more node and makes it a primary without slots. Returns its port.
    pub fn add_node(&mut self, timeout: Duration) -> u16 {
        let node = Self::node(timeout, &[]);
        let port = node.port();
        self.manage(&["add-node", &address(&node), &address(&self.nodes[0])]);
        self.nodes.push(node);
        self.await_serving();
        port
    }

    /// `redis-cli --cluster`, which must succeed.
    pub fn manage(&self, arguments: &[&str]) {
        let said = self.try_to_manage(arguments);
        said.unwrap_or_else(|said| panic!("--cluster {arguments:?}: {said}"));
    }

    /// `redis-cli --cluster`. The error is what it said.
    fn try_to_manage(&self, arguments: &[&str]) -> Result<(), String> {
        let output = cli::command()
            .arg("--cluster")
            .args(arguments)
            .arg("--cluster-yes")
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli starts");
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Moves `count` slots from the node of one port to that of another, key by key.
    pub fn reshard(&self, from: u16, to: u16, count: usize) {
        let address = format!("127.0.0.1:{to}");
        let slots = || self.find_by(self.server(from), from).slots;
        let left = slots() - count;
        while slots() > left {
            let (source, target) = (self.find(from).id, self.find(to).id);
            let more = (slots() - left).to_string();
            let said = self.try_to_manage(&[
                "reshard",
                &address,
                "--cluster-from",
                &source,
                "--cluster-to",
                &target,
                "--cluster-slots",
                &more,
            ]);
            if let Err(said) = said {
                // Valkey refuses where a replica did not confirm within two seconds, and leaves a slot on the move.
                assert!(said.contains("NOREPLICAS"), "{said}");
                self.manage(&["fix", &address]);
            }
        }
        self.await_serving();
    }

    /// Waits until every living node knows that all slots are served, as many by each node as the others know, and every
    /// replica is in step.
    pub fn await_serving(&self) {
        eventually("every node serves", || {
            let owners = |server: &Server| {
                let mut owners: Vec<_> = nodes(server)
                    .into_iter()
                    .filter(|node| node.slots > 0)
                    .map(|node| (node.id, node.slots))
                    .collect();
                owners.sort();
                owners
            };
            let first = owners(self.any());
            self.living().iter().all(|server| {
                let state = server.print(&["CLUSTER", "INFO"]);
                let replication = server.info("replication");
                state.contains("cluster_state:ok")
                    && nodes(server).len() >= self.living().len()
                    && owners(server) == first
                    && replication
                        .iter()
                        .any(|line| line == "role:master" || line == "master_link_status:up")
            })
        });
    }

    /// The nodes that were not killed.
    pub fn living(&self) -> Vec<&Server> {
        self.nodes
            .iter()
            .filter(|node| Connection::open(node.port()).is_ok())
            .collect()
    }

    /// One of the living.
    pub fn any(&self) -> &Server {
        self.living()[0]
    }

    /// The node of this port, as another one sees it.
    pub fn find(&self, port: u16) -> Node {
        self.find_by(self.any(), port)
    }

    /// The node of this port, as `server` sees it.
    pub fn find_by(&self, server: &Server, port: u16) -> Node {
        let found = nodes(server).into_iter().find(|node| node.port == port);
        found.unwrap_or_else(|| panic!("no node with port {port}"))
    }

    /// The ports of the primaries that own slots, sorted.
    pub fn primaries(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = nodes(self.any())
            .into_iter()
            .filter(|node| node.is_primary && node.slots > 0)
            .map(|node| node.port)
            .collect();
        ports.sort_unstable();
        ports
    }

    /// The port of a primary's replica.
    pub fn replica_of(&self, primary: u16) -> u16 {
        let id = self.find(primary).id;
        let replica = || {
            let mut nodes = nodes(self.any()).into_iter();
            nodes.find(|node| node.primary == id)
        };
        // A node learns of it some gossip after all slots are served.
        eventually("the primary's replica is known", || replica().is_some());
        replica().expect("it was known just now").port
    }

    /// The server of this port.
    pub fn server(&self, port: u16) -> &Server {
        self.nodes
            .iter()
            .find(|node| node.port() == port)
            .expect("a node of the cluster")
    }

    /// The server of this port.
    pub fn server_mut(&mut self, port: u16) -> &mut Server {
        self.nodes
            .iter_mut()
            .find(|node| node.port() == port)
            .expect("a node of the cluster")
    }
}

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

/// CLUSTER NODES: `id ip:port@busport flags primary ping pong epoch link slot...`.
fn nodes(server: &Server) -> Vec<Node> {
    server
        .print(&["CLUSTER", "NODES"])
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = words.get(1)?.split(['@', ':']).nth(1)?.parse().ok()?;
            Some(Node {
                id: words[0].to_string(),
                port,
                is_primary: words[2].contains("master"),
                primary: words[3].to_string(),
                slots: words[8..].iter().map(|range| slots_in(range)).sum(),
            })
        })
        .collect()
}

/// How many slots a word of CLUSTER NODES names: `7`, `0-5460`; none, where it is about a slot on the move, `[93->-...]`.
fn slots_in(range: &str) -> usize {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => last - first + 1,
        _ => 0,
    }
}

/// How a command ended.
#[derive(Debug)]
pub enum Outcome {
    /// The cluster's answer.
    Answered(Reply),
    /// The connection broke after the command was sent: nobody knows whether it was carried out.
    Unknown,
    /// Nobody serves the slot at the moment; the command was not carried out.
    Unserved,
}

/// A client that knows which node serves which slot, and learns from redirections.
pub struct Client {
    /// Where it may ask for the map of the slots.
    seeds: Vec<u16>,
    /// The port that serves each slot, as far as it knows.
    ports: Vec<u16>,
    asked_for_map: Instant,
    connections: HashMap<u16, Connection>,
    /// MOVED and ASK that it followed.
    pub redirections: usize,
}

impl Client {
    /// A client that finds its cluster through any of these ports.
    pub fn new(seeds: Vec<u16>) -> Self {
        let mut client = Client {
            seeds,
            ports: Vec::new(),
            asked_for_map: Instant::now(),
            connections: HashMap::new(),
            redirections: 0,
        };
        client.refresh();
        client
    }

    /// Asks for the map of the slots, whichever node answers.
    pub fn refresh(&mut self) {
        eventually("a node tells the map of the slots", || {
            self.seeds.clone().into_iter().any(|port| {
                let reply = self
                    .connection(port)
                    .and_then(|connection| connection.call("CLUSTER SLOTS"));
                match reply {
                    Ok(Reply::Array(ranges)) if !ranges.is_empty() => {
                        self.learn(&ranges);
                        true
                    }
                    _ => {
                        self.connections.remove(&port);
                        false
                    }
                }
            })
        });
        self.asked_for_map = Instant::now();
    }

    /// Reads CLUSTER SLOTS: `[first, last, [ip, port, ...], replica...]` for each range.
    fn learn(&mut self, ranges: &[Reply]) {
        self.ports.resize(SLOTS, 0);
        for range in ranges {
            let range = range.array();
            let [first, last, port] = [&range[0], &range[1], &range[2].array()[1]]
                .map(|number| usize::try_from(number.int()).expect("a slot or a port"));
            self.ports[first..=last].fill(u16::try_from(port).expect("a port"));
        }
        // The owners are alive, or were a moment ago: they join those that are asked.
        for port in &self.ports {
            if *port != 0 && !self.seeds.contains(port) {
                self.seeds.push(*port);
            }
        }
    }

    /// The port that serves a key, as far as it knows.
    pub fn serving(&self, key: &str) -> u16 {
        self.ports[slot(key)]
    }

    /// The first slot that a port serves, as far as it knows.
    pub fn first_slot(&self, port: u16) -> usize {
        let found = self.ports.iter().position(|owner| *owner == port);
        found.expect("it serves a slot")
    }

    fn connection(&mut self, port: u16) -> std::io::Result<&mut Connection> {
        match self.connections.entry(port) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Connection::open(port)?)),
        }
    }

    /// Sends a command about `key` to the node that serves it, wherever that is by now.
    pub fn call(&mut self, key: &str, command: &str) -> Outcome {
        let slot = slot(key);
        let mut asking = None;
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            let port = asking.unwrap_or(self.ports[slot]);
            let Ok(connection) = self.connection(port) else {
                self.refresh_later();
                return Outcome::Unserved;
            };
            let sent = match asking.take() {
                Some(_) => connection
                    .call("ASKING")
                    .and_then(|_| connection.call(command)),
                None => connection.call(command),
            };
            let Ok(reply) = sent else {
                self.connections.remove(&port);
                self.refresh_later();
                return Outcome::Unknown;
            };
            let Reply::Error(text) = &reply else {
                return Outcome::Answered(reply);
            };
            match text.split_whitespace().collect::<Vec<_>>()[..] {
                ["MOVED", _, address] => {
                    self.redirections += 1;
                    self.ports[slot] = port_of(address);
                    // One slot that has moved is seldom alone.
                    if self.asked_for_map.elapsed() > Duration::from_millis(100) {
                        self.refresh();
                    }
                }
                ["ASK", _, address] => {
                    self.redirections += 1;
                    asking = Some(port_of(address));
                }
                ["CLUSTERDOWN", ..] => {
                    self.refresh_later();
                    return Outcome::Unserved;
                }
                _ => return Outcome::Answered(reply),
            }
        }
        panic!("no answer to {command} within {DEADLINE:?}");
    }

    /// A node that is gone may be replaced a little later.
    fn refresh_later(&mut self) {
        std::thread::sleep(Duration::from_millis(10));
        self.refresh();
    }
}

fn port_of(address: &str) -> u16 {
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("an address ends in a port: {address}"))
}

/// The slot of a key: the CRC-16 (XMODEM: polynomial 1021, from 0), modulo 16384, of what its first braces hold, else of all.
pub fn slot(key: &str) -> usize {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    let crc = tag.unwrap_or(key).bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    usize::from(crc) % SLOTS
}

#[test]
fn the_slot_is_the_one_of_cluster_keyslot() {
    // The check value of CRC-16/XMODEM is 31c3.
    assert_eq!(slot("123456789"), 0x31c3);
    assert_eq!(slot("a{123456789}b{c}"), 0x31c3);
    assert_ne!(slot("{}123456789"), slot(""));
}
