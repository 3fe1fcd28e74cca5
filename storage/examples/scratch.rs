use std::time::Instant;
use storage::*;
struct Events;
impl Table for Events {
    const NAME: &'static str = "events";
    type Partition = String;
    type Sort = u64;
    type Value = bytes::Bytes;
}
struct Small;
impl Table for Small {
    const NAME: &'static str = "small";
    type Partition = String;
    type Sort = u64;
    type Value = bytes::Bytes;
}
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("Threads"))
        .collect::<Vec<_>>()
        .join(" ")
}
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let kind = if a[1] == "sled" { EngineKind::Sled } else { EngineKind::Fjall };
    let n: u64 = a[3].parse().unwrap();
    println!("before {}", rss());
    let t = Instant::now();
    let s = Store::open(&Config::at(kind, a[2].clone().into()), 1).unwrap();
    println!("open {:?} pos {} {}", t.elapsed(), s.log().position(), rss());
    if n > 0 {
        let ev = bytes::Bytes::from(vec![7u8; 700]);
        let sm = bytes::Bytes::from(vec![7u8; 60]);
        let t = Instant::now();
        let mut js = tokio::task::JoinSet::new();
        for w in 0..64u64 {
            let (s, ev, sm) = (s.clone(), ev.clone(), sm.clone());
            js.spawn(async move {
                for i in (0..n).filter(|i| i % 64 == w) {
                    let room = format!("!room{w}:example.org");
                    let mut b = Batch::new();
                    b.put::<Events>(&room, i, &ev);
                    b.put::<Small>(&format!("$event{i:043}"), 0, &sm);
                    b.put::<Small>(&format!("depth {room}"), i, &sm);
                    b.put::<Small>(&room, 0, &sm);
                    b.put::<Small>(&format!("txn {room}"), i, &sm);
                    b.put::<Small>(&format!("rel {room}"), i, &sm);
                    b.fact(Fact { stream: 1, subject: room.as_str().into(), payload: sm.clone() });
                    s.commit(b).await.unwrap();
                }
            });
        }
        js.join_all().await;
        println!("wrote {n} in {:?} {} disk {} MB", t.elapsed(), rss(), s.disk_bytes() >> 20);
    }
    let t = Instant::now();
    s.close();
    drop(s);
    println!("closed {:?}", t.elapsed());
}
