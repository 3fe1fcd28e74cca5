//! `load gateways`: very many WebSockets held by one region behind several gateways, by clients in
//! several processes. Memory, heartbeats, a message to everybody, and everybody's return.

pub(crate) mod crowd;
mod wire;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::server::{Plan, Server};

/// Of memory that is told before it counts as settled.
const SETTLE: Duration = Duration::from_secs(3);
/// Everybody is to be back within this time.
const RETURN_WITHIN: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "target/release/meridian")]
    server_bin: PathBuf,
    #[arg(long, default_value_t = 12)]
    gateways: u16,
    /// Processes of clients.
    #[arg(long, default_value_t = 12)]
    crowds: u8,
    /// Of all clients together.
    #[arg(long, default_value_t = 200_000)]
    sockets: usize,
    /// A device may have 8. The first of each user is not in the memory per socket, since it brings
    /// the user's own into memory.
    #[arg(long, default_value_t = 8)]
    sockets_per_user: usize,
    #[arg(long, default_value_t = 100)]
    room_size: usize,
    #[arg(long, default_value_t = 60)]
    hold_seconds: u64,
    /// Seconds between two heartbeats of a client.
    #[arg(long, default_value_t = 30)]
    heartbeat_seconds: u64,
    #[arg(long, default_value = "fjall")]
    engine: String,
    /// Where the region's data is; it has to be empty.
    #[arg(long)]
    directory: PathBuf,
}

/// A process of clients.
struct Crowd {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A process of the server.
struct Process {
    pid: u32,
    is_gateway: bool,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    core_bytes: u64,
    gateways_bytes: u64,
    core_cpu: Duration,
    gateways_cpu: Duration,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut plan = Plan::new(&arguments.server_bin, &arguments.engine, &arguments.directory)?;
    let gateways = PathBuf::from(arguments.gateways.to_string());
    plan.environment.push(("MERIDIAN_GATEWAYS__PROCESSES".to_owned(), gateways));
    let (server, _) = plan.start().await?;
    // The crowds are waited for by blocking; the runtime has nothing else to do.
    measure(&arguments, &plan, &server)?;
    let took = server.terminate().await?;
    println!("stopped in order in {} ms", took.as_millis());
    Ok(())
}

fn measure(arguments: &Arguments, plan: &Plan, server: &Server) -> anyhow::Result<()> {
    let each = arguments.sockets / usize::from(arguments.crowds);
    let mut crowds: Vec<Crowd> = (0..arguments.crowds)
        .map(|number| Crowd::start(plan, arguments, number, each))
        .collect::<anyhow::Result<_>>()?;
    let begin = Instant::now();
    let prepared = ask(&mut crowds, "prepare")?;
    println!("prepared in {} s: {} each", begin.elapsed().as_secs(), prepared[0]);

    let few = each.div_ceil(arguments.sockets_per_user.max(2));
    ask(&mut crowds, &format!("open {few}"))?;
    thread::sleep(SETTLE);
    let before = usage(server)?;
    let begin = Instant::now();
    ask(&mut crowds, &format!("open {each}"))?;
    println!(
        "all {} open, the last {} in {:.1} s",
        each * crowds.len(),
        (each - few) * crowds.len(),
        begin.elapsed().as_secs_f64()
    );
    thread::sleep(SETTLE);
    let after = usage(server)?;
    tell_memory(before, after, (each - few) * crowds.len());
    hold(arguments, server, &mut crowds, each)?;
    let after_hold = usage(server)?;
    println!(
        "core: {} MiB, gateways: {} MiB after it",
        after_hold.core_bytes >> 20,
        after_hold.gateways_bytes >> 20
    );
    message(&mut crowds, 1)?;
    cut(&mut crowds)?;
    message(&mut crowds, 2)?;
    kill_one(server, &mut crowds)?;
    message(&mut crowds, 3)
}

fn tell_memory(before: Usage, after: Usage, more: usize) {
    let slope = |before: u64, after: u64| (after as f64 - before as f64) / more as f64;
    let core = slope(before.core_bytes, after.core_bytes);
    let gateways = slope(before.gateways_bytes, after.gateways_bytes);
    println!(
        "memory: core {} MiB, gateways {} MiB; per socket: core {core:.0} B, gateway {gateways:.0} B, together {:.0} B",
        after.core_bytes >> 20,
        after.gateways_bytes >> 20,
        core + gateways
    );
}

/// Idles with heartbeats.
fn hold(
    arguments: &Arguments,
    server: &Server,
    crowds: &mut [Crowd],
    each: usize,
) -> anyhow::Result<()> {
    let (seconds, interval) = (arguments.hold_seconds, arguments.heartbeat_seconds);
    if seconds == 0 {
        return Ok(());
    }
    let before = usage(server)?;
    let held = ask(crowds, &format!("hold {seconds} {interval}"))?;
    let after = usage(server)?;
    let beats = sum(&held, 0)?;
    let broken = sum(&held, 1)?;
    ensure!(broken == 0, "{broken} sockets broke while they were held");
    let sockets = (each * crowds.len()) as f64;
    let gateways = (after.gateways_cpu - before.gateways_cpu).as_secs_f64() * 1e6;
    let core = (after.core_cpu - before.core_cpu).as_secs_f64() * 1e6;
    println!(
        "held {seconds} s with {beats} heartbeats: gateways {:.2} µs CPU per socket and second ({:.2} µs per heartbeat, pings included), core {:.2}",
        gateways / sockets / seconds as f64,
        gateways / beats.max(1) as f64,
        core / sockets / seconds as f64,
    );
    Ok(())
}

fn message(crowds: &mut [Crowd], round: u8) -> anyhow::Result<()> {
    let told = ask(crowds, &format!("message {round}"))?;
    let (missing, repeated) = (sum(&told, 1)?, sum(&told, 2)?);
    println!("message {round} to each room: everywhere within {} ms", max(&told, 0)?);
    ensure!(missing == 0, "message {round} did not come to {missing} sockets");
    ensure!(repeated == 0, "{repeated} messages came twice");
    Ok(())
}

fn cut(crowds: &mut [Crowd]) -> anyhow::Result<()> {
    let begin = Instant::now();
    let back = ask(crowds, "cut")?;
    let took = begin.elapsed();
    println!(
        "everybody cut: {} back after {:.1} s, {} attempts failed",
        sum(&back, 0)?,
        took.as_secs_f64(),
        sum(&back, 2)?
    );
    if took > RETURN_WITHIN {
        println!("missed: the goal is {} s", RETURN_WITHIN.as_secs());
    }
    Ok(())
}

/// Kills a gateway; its clients come back to the others.
fn kill_one(server: &Server, crowds: &mut [Crowd]) -> anyhow::Result<()> {
    let processes = processes(server)?;
    let victim = processes.iter().find(|process| process.is_gateway).context("no gateway")?;
    let status = Command::new("kill").args(["-KILL", &victim.pid.to_string()]).status()?;
    ensure!(status.success(), "kill: {status}");
    while Path::new(&format!("/proc/{}/fd/0", victim.pid)).exists() {
        thread::sleep(Duration::from_millis(5));
    }
    // What the kernel tells the clients of the dead, they notice in a moment.
    thread::sleep(Duration::from_millis(500));
    let back = ask(crowds, "wait")?;
    println!(
        "a gateway killed: its {} clients were back within {} ms",
        sum(&back, 0)?,
        max(&back, 1)?
    );
    Ok(())
}

impl Crowd {
    fn start(
        plan: &Plan,
        arguments: &Arguments,
        number: u8,
        sockets: usize,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["crowd", "--address", &plan.address.to_string()])
            .args(["--number", &number.to_string(), "--sockets", &sockets.to_string()])
            .args(["--sockets-per-user", &arguments.sockets_per_user.to_string()])
            .args(["--room-size", &arguments.room_size.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("stdin")?;
        let output = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Self { child, input, output })
    }
}

/// It ends with its input; whoever fails half-way leaves none behind.
impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks all at once, and waits for every answer.
fn ask(crowds: &mut [Crowd], line: &str) -> anyhow::Result<Vec<String>> {
    for crowd in &mut *crowds {
        writeln!(crowd.input, "{line}")?;
    }
    let answers = crowds.iter_mut().map(|crowd| {
        let mut answer = String::new();
        ensure!(crowd.output.read_line(&mut answer)? > 0, "a crowd has ended at {line:?}");
        Ok(answer.trim().to_owned())
    });
    answers.collect()
}

fn word(answer: &str, index: usize) -> anyhow::Result<u64> {
    let word = answer.split(' ').nth(index).context("a short answer")?;
    word.parse().with_context(|| answer.to_owned())
}

fn sum(answers: &[String], index: usize) -> anyhow::Result<u64> {
    answers.iter().map(|answer| word(answer, index)).sum()
}

fn max(answers: &[String], index: usize) -> anyhow::Result<u64> {
    let words: Vec<u64> =
        answers.iter().map(|answer| word(answer, index)).collect::<Result<_, _>>()?;
    Ok(words.into_iter().max().unwrap_or_default())
}

/// The region's process and its children.
fn processes(server: &Server) -> anyhow::Result<Vec<Process>> {
    let core = server.pid();
    let mut found = vec![Process { pid: core, is_gateway: false }];
    // Each thread lists the children that it started.
    for task in fs::read_dir(format!("/proc/{core}/task"))? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace() {
            found.push(Process { pid: pid.parse()?, is_gateway: true });
        }
    }
    Ok(found)
}

fn usage(server: &Server) -> anyhow::Result<Usage> {
    let mut usage = Usage::default();
    for Process { pid, is_gateway } in processes(server)? {
        let (bytes, cpu) = (crate::server::resident(pid)?, server.cpu_of(pid)?);
        if is_gateway {
            usage.gateways_bytes += bytes;
            usage.gateways_cpu += cpu;
        } else {
            usage.core_bytes += bytes;
            usage.core_cpu += cpu;
        }
    }
    Ok(usage)
}
