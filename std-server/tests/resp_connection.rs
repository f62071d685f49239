//! One connection over a stream in memory, on an engine whose log the test scripts: what is answered, when, and what
//! is never answered.

mod support;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use core::time::Duration;
use std::sync::Arc;
use std_server::auth::Credentials;
use std_server::command::{
    Addresses, Clients, CommandLimits, Engine, Halted, Host, InfoSection, MemoryEngine, Progress, Refusal,
    Replies, Stop, Ticket, Unit,
};
use std_server::keyspace::Options;
use std_server::resp::{ConnectionLimits, RequestLimits, serve_connection};
use support::encode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_answered_in_order_wherever_it_is_cut() {
    let mut requests = encode(&[b"SET", b"k", b"0"]);
    let mut expected = "+OK\\r\\n".to_owned();
    for number in 1..=20 {
        requests.extend(encode(&[b"INCR", b"k"]));
        expected += &format!(":{number}\\r\\n");
    }
    requests.extend_from_slice(b"PING 'a b'\r\n\r\n*0\r\nGET k\n");
    expected += "$3\\r\\na b\\r\\n$2\\r\\n20\\r\\n";
    for cut in 0..=requests.len() {
        let mut test = Test::start(ConnectionLimits::default());
        let (head, tail) = requests.split_at(cut);
        test.send(head).await;
        tokio::task::yield_now().await;
        test.send(tail).await;
        assert_eq!(test.end().await, expected, "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn replies_wait_until_their_records_are_acknowledged() {
    let mut test = Test::start(ConnectionLimits::default());
    test.engine.acknowledge_up_to(0);
    test.send(b"PING\r\nSET a 1\r\nSET b 2\r\nGET a\r\n").await;
    assert_eq!(test.received_after(Duration::from_secs(60)).await, "");
    test.engine.acknowledge_up_to(1);
    assert_eq!(test.received_after(Duration::from_secs(60)).await, "");
    test.engine.acknowledge_up_to(2);
    assert_eq!(test.end().await, "+PONG\\r\\n+OK\\r\\n+OK\\r\\n$1\\r\\n1\\r\\n");
}

#[tokio::test(start_paused = true)]
async fn what_a_halted_log_lost_is_never_acknowledged() {
    let mut test = Test::start(ConnectionLimits::default());
    test.engine.acknowledge_up_to(0);
    test.send(b"SET a 1\r\nSET b 2\r\nPING\r\nMULTI\r\nINCR c\r\nEXEC\r\nECHO end\r\n").await;
    test.engine.acknowledge_up_to(1);
    test.engine.halt();
    let refusal = "-MISCONF halted\\r\\n";
    let expected = format!("+OK\\r\\n{refusal}+PONG\\r\\n+OK\\r\\n+QUEUED\\r\\n{refusal}$3\\r\\nend\\r\\n");
    assert_eq!(test.end().await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_refused_submission_changes_nothing_and_heals() {
    let mut test = Test::start(ConnectionLimits::default());
    test.engine.full.store(true, SeqCst);
    assert_eq!(test.ask(b"SET a 1\r\n").await, "-OOM no space for the log\\r\\n");
    assert_eq!(
        test.ask(b"MULTI\r\nSET a 1\r\nEXEC\r\n").await,
        "+OK\\r\\n+QUEUED\\r\\n-OOM no space for the log\\r\\n"
    );
    test.engine.full.store(false, SeqCst);
    assert_eq!(test.ask(b"GET a\r\nSET a 1\r\n").await, "$-1\\r\\n+OK\\r\\n");
}

#[tokio::test(start_paused = true)]
async fn loading_is_told_with_its_progress() {
    let mut test = Test::start(ConnectionLimits::default());
    test.engine.loading.store(true, SeqCst);
    let loading = "-LOADING Redis is loading the dataset in memory: 25% (50 of 200 bytes)\\r\\n";
    for line in [&b"GET a\r\n"[..], b"SET a 1\r\n", b"PING\r\n", b"SAVE\r\n"] {
        assert_eq!(test.ask(line).await, loading);
    }
    assert_eq!(test.ask(b"ECHO hi\r\n").await, "$2\\r\\nhi\\r\\n");
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\\r\\n";
    assert_eq!(test.ask(b"MULTI\r\nSET a 1\r\nEXEC\r\n").await, format!("+OK\\r\\n{loading}{aborted}"));
    test.engine.loading.store(false, SeqCst);
    assert_eq!(test.ask(b"GET a\r\n").await, "$-1\\r\\n");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_beyond_one_record_is_refused_whole() {
    let mut test = Test::start(ConnectionLimits::default());
    let mut requests = b"MULTI\r\n".to_vec();
    for key in [b"a", b"b", b"c"] {
        requests.extend(encode(&[b"SET", key, &vec![b'v'; 500]]));
    }
    requests.extend_from_slice(b"EXEC\r\nDBSIZE\r\n");
    let reply = test.ask(&requests).await;
    let refusal = format!("exceed the limit of {RECORD_BYTES} bytes for one record\\r\\n:0\\r\\n");
    assert!(reply.ends_with(&refusal), "{reply}");
    let single = test.ask(&encode(&[b"SET", b"a", &vec![b'v'; RECORD_BYTES]])).await;
    assert!(
        single.ends_with(&format!("exceed the limit of {RECORD_BYTES} bytes for one record\\r\\n")),
        "{single}"
    );
}

#[tokio::test(start_paused = true)]
async fn malformed_bytes_end_the_connection_after_what_was_well_formed() {
    let rows: [(&[u8], &str); 4] = [
        (b"*1\r\n+x\r\n", "expected '$', got '+'"),
        (b"*1\r\n$4\r\nPINGPONG", "bulk string does not end where its length says"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5001\r\n", "invalid bulk length"),
        (b"*2000000000\r\n", "invalid multibulk length"),
    ];
    let request = RequestLimits { word_bytes: 5000, words: 1000, request_bytes: 10_000 };
    for (bytes, message) in rows {
        let mut test = Test::start(ConnectionLimits { request, ..ConnectionLimits::default() });
        test.send(&[b"SET k kept\r\nGET k\r\n", bytes, b"SET k lost\r\n"].concat()).await;
        let expected = format!("+OK\\r\\n$4\\r\\nkept\\r\\n-ERR Protocol error: {message}\\r\\n");
        assert_eq!(test.received_until_close().await, expected.replace('\'', "\\'"));
        let mut other = Test::on(Arc::clone(&test.engine), ConnectionLimits::default());
        assert_eq!(other.ask(b"GET k\r\n").await, "$4\\r\\nkept\\r\\n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_request_is_not_executed() {
    let request = encode(&[b"SET", b"k", b"value"]);
    for cut in 1..request.len() {
        let mut test = Test::start(ConnectionLimits::default());
        test.send(&request[..cut]).await;
        let engine = Arc::clone(&test.engine);
        assert_eq!(test.end().await, "");
        let mut other = Test::on(engine, ConnectionLimits::default());
        assert_eq!(other.ask(b"EXISTS k\r\n").await, ":0\\r\\n", "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_served_further() {
    let limits = ConnectionLimits { output_bytes: 10_000, ..ConnectionLimits::default() };
    let mut test = Test::start(limits);
    let value = vec![b'v'; 1000];
    assert_eq!(test.ask(&encode(&[b"SET", b"k", &value])).await, "+OK\\r\\n");
    let before = test.engine.submitted.load(SeqCst);
    let mut writer = test.writer.take().expect("not ended");
    let pipeline = b"GET k\r\n".repeat(100_000);
    let sending = tokio::spawn(async move { writer.write_all(&pipeline).await.map(|()| writer) });
    tokio::time::sleep(Duration::from_secs(60)).await;
    let served = test.engine.submitted.load(SeqCst) - before;
    assert!((10..200).contains(&served), "{served} replies for a client that reads none");
    assert!(!sending.is_finished(), "the client is slowed down");
    let mut received = 0;
    while received < 100_000 * (1000 + "$1000\r\n\r\n".len()) {
        received += test.reader.read(&mut [0; 1 << 16]).await.expect("replies");
    }
    assert!(sending.await.is_ok_and(|sent| sent.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn silence_beyond_the_limit_ends_the_connection() {
    let limits = ConnectionLimits { idle: Some(Duration::from_secs(10)), ..ConnectionLimits::default() };
    let mut test = Test::start(limits);
    assert_eq!(test.received_after(Duration::from_secs(9)).await, "");
    assert_eq!(test.ask(b"PING\r\n").await, "+PONG\\r\\n");
    assert_eq!(test.received_after(Duration::from_secs(9)).await, "");
    assert!(!test.serving.is_finished());
    assert_eq!(test.received_until_close().await, "");
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_finish_what_was_sent() {
    let mut test = Test::start(ConnectionLimits::default());
    test.engine.acknowledge_up_to(0);
    test.send(b"SET k v\r\nGET k\r\n").await;
    assert_eq!(test.received_after(Duration::from_secs(1)).await, "");
    test.stop.cancel();
    assert_eq!(test.received_after(Duration::from_secs(1)).await, "");
    test.engine.acknowledge_up_to(1);
    assert_eq!(test.received_until_close().await, "+OK\\r\\n$1\\r\\nv\\r\\n");
}

#[tokio::test(start_paused = true)]
async fn nothing_after_quit_is_executed() {
    let mut test = Test::start(ConnectionLimits::default());
    test.send(b"SET k 1\r\nQUIT\r\nSET k 2\r\n").await;
    assert_eq!(test.received_until_close().await, "+OK\\r\\n+OK\\r\\n");
    let mut other = Test::on(Arc::clone(&test.engine), ConnectionLimits::default());
    assert_eq!(other.ask(b"GET k\r\n").await, "$1\\r\\n1\\r\\n");
}

#[tokio::test(start_paused = true)]
async fn waitaof_forces_a_sync_and_keeps_its_timeout() {
    let mut test = Test::start(ConnectionLimits::default());
    test.engine.acknowledge_up_to(5);
    assert_eq!(test.ask(b"SET k v\r\nWAITAOF 1 0 0\r\n").await, "+OK\\r\\n*2\\r\\n:1\\r\\n:0\\r\\n");
    assert_eq!(test.engine.syncs.load(SeqCst), 1);
    test.engine.slow_sync.store(true, SeqCst);
    assert_eq!(test.ask(b"WAITAOF 1 0 100\r\n").await, "*2\\r\\n:0\\r\\n:0\\r\\n");
}

#[tokio::test(start_paused = true)]
async fn connections_are_listed_until_they_end() {
    let test = Test::start(ConnectionLimits::default());
    let mut other = Test::on(Arc::clone(&test.engine), ConnectionLimits::default());
    let list = other.ask(b"CLIENT SETNAME me\r\nHELLO 3\r\nCLIENT LIST\r\n").await;
    assert!(list.contains("id=1 addr=") && list.contains(" name=me ") && list.contains(" resp=3"), "{list}");
    assert_eq!(other.engine.clients().count(), 2);
    drop(test.end().await);
    let list = other.ask(b"CLIENT LIST ID 1 2\r\n").await;
    assert!(!list.contains("id=1 ") && list.contains("id=2 "), "{list}");
}

/// A connection that is being served, and the test's end of it.
struct Test {
    engine: Arc<ScriptedEngine>,
    reader: ReadHalf<DuplexStream>,
    writer: Option<WriteHalf<DuplexStream>>,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Test {
    fn start(limits: ConnectionLimits) -> Self {
        Self::on(Arc::new(ScriptedEngine::new()), limits)
    }

    fn on(engine: Arc<ScriptedEngine>, limits: ConnectionLimits) -> Self {
        let (ours, mut theirs) = tokio::io::duplex(16 << 10);
        let (reader, writer) = tokio::io::split(ours);
        let (stop, served) = (CancellationToken::new(), Arc::clone(&engine));
        let token = stop.clone();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let serving = tokio::spawn(async move {
            let addresses = Addresses { peer: address, local: address };
            serve_connection(&mut theirs, addresses, &*served, limits, &token).await
        });
        Self { engine, reader, writer: Some(writer), stop, serving }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.writer.as_mut().expect("not ended").write_all(bytes).await.expect("the server reads");
    }

    /// Sends requests and collects replies until nothing more comes.
    async fn ask(&mut self, bytes: &[u8]) -> String {
        self.send(bytes).await;
        self.received_after(Duration::from_secs(1)).await
    }

    /// What comes until nothing has come for so long.
    async fn received_after(&mut self, silence: Duration) -> String {
        let mut bytes = Vec::new();
        while let Ok(read) = tokio::time::timeout(silence, self.reader.read_buf(&mut bytes)).await {
            assert_ne!(read.expect("open"), 0, "closed after {:?}", bytes.escape_ascii().to_string());
        }
        bytes.escape_ascii().to_string()
    }

    async fn received_until_close(&mut self) -> String {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).await.expect("closed in order");
        bytes.escape_ascii().to_string()
    }

    /// Closes the writing side and collects what still comes.
    async fn end(mut self) -> String {
        self.writer.take().expect("not ended").shutdown().await.expect("open");
        let received = self.received_until_close().await;
        self.serving.await.expect("no panic").expect("no error");
        received
    }
}

/// A keyspace in memory whose log acknowledges, fills and halts as the test says.
struct ScriptedEngine {
    memory: MemoryEngine,
    appended: AtomicU64,
    log: watch::Sender<Log>,
    full: AtomicBool,
    loading: AtomicBool,
    slow_sync: AtomicBool,
    syncs: AtomicUsize,
    submitted: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Log {
    acknowledged: u64,
    halted: bool,
}

impl ScriptedEngine {
    fn new() -> Self {
        Self {
            memory: MemoryEngine::new(Options::default(), CancellationToken::new()),
            appended: AtomicU64::new(0),
            log: watch::Sender::new(Log { acknowledged: u64::MAX, halted: false }),
            full: AtomicBool::default(),
            loading: AtomicBool::default(),
            slow_sync: AtomicBool::default(),
            syncs: AtomicUsize::default(),
            submitted: AtomicUsize::default(),
        }
    }

    fn acknowledge_up_to(&self, ticket: u64) {
        self.log.send_modify(|log| log.acknowledged = ticket);
    }

    fn halt(&self) {
        self.log.send_modify(|log| log.halted = true);
    }
}

impl Engine for ScriptedEngine {
    async fn submit<R: Replies + Send>(
        &self,
        unit: &Unit<'_>,
        replies: &mut R,
    ) -> Result<Option<Ticket>, Refusal> {
        self.submitted.fetch_add(1, SeqCst);
        if self.full.load(SeqCst) && unit.writes() {
            return Err(Refusal::fixed("OOM no space for the log"));
        }
        self.memory.submit(unit, replies).await?;
        Ok(unit.writes().then(|| Ticket(self.appended.fetch_add(1, SeqCst) + 1)))
    }

    async fn acknowledged(&self, ticket: Ticket) -> Result<(), Halted> {
        let mut log = self.log.subscribe();
        let log = *log
            .wait_for(|log| log.halted || log.acknowledged >= ticket.0)
            .await
            .expect("the engine is there");
        if log.acknowledged >= ticket.0 {
            return Ok(());
        }
        let acknowledged = (log.acknowledged > 0).then_some(Ticket(log.acknowledged));
        Err(Halted { acknowledged, refusal: Refusal::fixed("MISCONF halted") })
    }
}

impl Host for ScriptedEngine {
    fn loading(&self) -> Option<Progress> {
        self.loading.load(SeqCst).then_some(Progress { what: "bytes", done: 50, total: 200 })
    }

    fn limits(&self) -> CommandLimits {
        CommandLimits { record_bytes: RECORD_BYTES, queued_bytes: 100_000 }
    }

    fn now_us(&self) -> u64 {
        self.memory.now_us()
    }

    fn last_save_s(&self) -> u64 {
        self.memory.last_save_s()
    }

    fn info(&self) -> Vec<InfoSection> {
        self.memory.info()
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.memory.settings()
    }

    fn credentials(&self) -> &Arc<Credentials> {
        self.memory.credentials()
    }

    fn max_memory(&self) -> Option<usize> {
        self.memory.max_memory()
    }

    fn set_max_memory(&self, limit: Option<usize>) {
        self.memory.set_max_memory(limit);
    }

    fn is_full(&self) -> bool {
        self.memory.is_full()
    }

    fn clients(&self) -> &Arc<Clients> {
        self.memory.clients()
    }

    fn begin_save(&self) -> Result<(), Refusal> {
        self.memory.begin_save()
    }

    async fn save(&self) -> Result<(), Refusal> {
        self.memory.save().await
    }

    async fn sync(&self) -> Result<(), Refusal> {
        if self.slow_sync.load(SeqCst) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        self.syncs.fetch_add(1, SeqCst);
        Ok(())
    }

    async fn stop(&self, stop: Stop) -> Result<(), Refusal> {
        self.memory.stop(stop).await
    }
}

const RECORD_BYTES: usize = 1500;
