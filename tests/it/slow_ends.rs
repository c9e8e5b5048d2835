//! Clients that read slowly when their connection ends: what was sent to them is theirs.

use std::time::Duration;

use longshore_tests::frames::{
    ACK, DATA, END_STREAM, Frames, GOAWAY, HEADERS, PING, WINDOW_UPDATE, frame,
};
use longshore_tests::origin::{Origin, read};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::within;
use socket2::SockRef;

/// As much as the kernel takes from the process at once, for a client that reads nothing.
const SIZE: usize = 1 << 20;

/// What the client's own kernel, and the way to it, may hold of that.
const ON_ITS_WAY: usize = 256 << 10;

/// How much the client reads at a time, and how often: about three seconds for all of it.
const STEP: usize = 32 << 10;
const PACE: Duration = Duration::from_millis(100);

async fn large() -> Origin {
    of_size(SIZE).await
}

async fn of_size(size: usize) -> Origin {
    Origin::raw(move |mut wire| async move {
        read(&mut wire).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        wire.send(head).await;
        wire.send(vec![b'x'; size]).await;
        wire.rest().await;
    })
    .await
}

fn before(origin: &Origin) -> TempFile {
    TempFile::new(&format!(
        "runtime: {{drain_timeout: 30s}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        origin.address.port()
    ))
}

/// Little room for what was not read.
fn small_window(stream: &tokio::net::TcpStream) {
    SockRef::from(stream)
        .set_recv_buffer_size(16 << 10)
        .expect("set");
}

/// A process that has ended, and how much its client had read by then.
struct Ended {
    read: Option<usize>,
}

impl Ended {
    fn look(&mut self, process: &mut Process, read: usize) {
        if self.read.is_none() && process.has_ended() {
            self.read = Some(read);
        }
    }

    fn was_in_time(&self) {
        if let Some(read) = self.read {
            let missing = SIZE - read;
            assert!(
                missing <= ON_ITS_WAY,
                "it ended with {missing} bytes unsent"
            );
        }
    }
}

#[tokio::test]
async fn the_process_stays_until_the_kernel_has_sent_what_it_holds() {
    let origin = large().await;
    let config = before(&origin);
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    small_window(&client.stream);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = within("a head", client.head()).await.expect("a head");
    assert_eq!(head.status(), 200);
    process.signal("TERM");
    process.wait_for_line("draining");
    let (mut read, mut ended) = (0, Ended { read: None });
    while read < SIZE {
        ended.look(&mut process, read);
        tokio::time::sleep(PACE).await;
        let got = within("more", client.exactly(STEP)).await;
        read += got.expect("not cut").len();
    }
    ended.was_in_time();
    assert!(process.wait().success());
}

#[tokio::test]
async fn the_end_of_an_http2_connection_takes_nothing_back_from_a_client_that_goes_on_talking() {
    let origin = large().await;
    let config = before(&origin);
    let (mut process, address) = Process::run(&config);
    let room = u32::try_from(4 * SIZE).expect("small");
    let mut client = Frames::connect(address, &[(4, room)]).await;
    small_window(&client.stream);
    let more = frame(WINDOW_UPDATE, 0, 0, &room.to_be_bytes());
    assert!(client.send(&more).await);
    assert!(client.get(1, "/").await);
    within("a head", client.next_of(HEADERS))
        .await
        .expect("a head");
    process.signal("TERM");
    process.wait_for_line("draining");
    let (mut read, mut ended, mut whole) = (0, Ended { read: None }, false);
    let mut due = STEP;
    while !whole {
        ended.look(&mut process, read);
        let got = within("a frame", client.next()).await;
        let got = got.unwrap_or_else(|| panic!("cut after {read} bytes"));
        match got.kind {
            DATA => {
                read += got.payload.len();
                whole = got.flags & END_STREAM != 0;
            }
            PING if got.flags & ACK == 0 => {
                client.send(&frame(PING, ACK, 0, &got.payload)).await;
            }
            _ => {}
        }
        if read >= due {
            due += STEP;
            // As a client that measures its bandwidth. Once all has come, nobody may listen.
            client.send(&frame(PING, 0, 0, b"bandwidt")).await;
            tokio::time::sleep(PACE).await;
        }
    }
    assert_eq!(read, SIZE);
    ended.was_in_time();
    assert!(process.wait().success());
}

#[tokio::test]
async fn a_stream_on_an_idle_http2_connection_right_after_sigterm_is_answered() {
    let origin = Origin::ok("ok").await;
    let config = before(&origin);
    let (mut process, address) = Process::run(&config);
    let mut client = Frames::connect(address, &[]).await;
    assert!(client.get(1, "/").await);
    within("a head", client.next_of(HEADERS))
        .await
        .expect("a head");
    // Longer idle than the time that idle connections have while the process drains.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    process.signal("TERM");
    let told = within("GOAWAY", client.next_of(GOAWAY)).await;
    assert!(told.is_some());
    // It was on its way when the client was told, so its PING comes later.
    assert!(client.get(3, "/").await);
    let answer = within("a head", client.next_of(HEADERS)).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.stream, answer.begins_with_200()), (3, true));
    assert!(process.wait().success());
}

/// More than the kernel takes at once, and a client that pauses when the last of it waits here.
#[tokio::test]
async fn the_end_of_the_process_leaves_a_client_of_http2_that_pauses_all_of_its_response() {
    const LARGE: usize = 12 << 20;
    let origin = of_size(LARGE).await;
    let config = before(&origin);
    let (mut process, address) = Process::run(&config);
    let room = u32::try_from(2 * LARGE).expect("small");
    let mut client = Frames::connect(address, &[(4, room)]).await;
    let more = frame(WINDOW_UPDATE, 0, 0, &room.to_be_bytes());
    assert!(client.send(&more).await);
    assert!(client.get(1, "/").await);
    let mut read = 0;
    let mut paused = false;
    loop {
        let got = within("a frame", client.next()).await;
        let got = got.unwrap_or_else(|| panic!("cut after {read} bytes"));
        match got.kind {
            DATA => read += got.payload.len(),
            PING if got.flags & ACK == 0 => {
                client.send(&frame(PING, ACK, 0, &got.payload)).await;
            }
            _ => {}
        }
        if got.kind == DATA && got.flags & END_STREAM != 0 {
            break;
        }
        if !paused && read > LARGE / 8 {
            paused = true;
            process.signal("TERM");
            process.wait_for_line("draining");
            // The client's own pause, longer than what an idle connection is left.
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    }
    assert_eq!(read, LARGE);
    assert!(process.wait().success());
}
