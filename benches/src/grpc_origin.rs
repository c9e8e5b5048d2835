//! The gRPC origin behind every proxy of the rows with gRPC: one thread, HTTP/2 with prior
//! knowledge, answers made before the first call.
//!
//! `/body/LEN` answers a message of a length named with `--body`, `/health` an empty one, and
//! `/headers` one with the fields of the request as they arrived. All end with `grpc-status: 0`.

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use longshore_benches::OriginPlan;
use tokio::net::{TcpListener, TcpStream};

/// Windows that nothing here fills.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 28;
/// The status of a method that there is not.
const UNIMPLEMENTED: &str = "12";

/// An answer that is the same for each call.
struct Fixed {
    path: String,
    message: Bytes,
    /// How many times it is sent.
    count: usize,
}

fn main() -> ExitCode {
    match longshore_benches::origin_arguments(std::env::args().skip(1))
        .and_then(|plan| serve(&plan).map_err(|e| e.to_string()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("grpc-origin: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Accepts and answers until the process is ended.
fn serve(plan: &OriginPlan) -> io::Result<()> {
    let framed = |message: &[u8]| Bytes::from(longshore_benches::grpc_message(message));
    let mut answers = vec![Fixed {
        path: "/health".into(),
        message: framed(b""),
        count: 1,
    }];
    for &size in &plan.sizes {
        let message = framed(&longshore_benches::body(size));
        answers.push(Fixed {
            path: format!("/body/{size}"),
            message: message.clone(),
            count: 1,
        });
        answers.extend(plan.streams.iter().map(|&count| Fixed {
            path: format!("/stream/{size}/{count}"),
            message: message.clone(),
            count,
        }));
    }
    let answers = Arc::new(answers);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut accepting = Vec::with_capacity(plan.listeners);
        for index in 0..plan.listeners {
            let listener = TcpListener::bind((plan.address(), 0)).await?;
            println!("listening {}", listener.local_addr()?);
            accepting.push(tokio::spawn(accept(listener, index, Arc::clone(&answers))));
        }
        for listener in accepting {
            listener.await??;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, index: usize, answers: Arc<Vec<Fixed>>) -> io::Result<()> {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The peer gave up between its SYN and this call.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            if let Err(error) = connection(stream, index, answers).await
                && !error.is_io()
            {
                eprintln!("grpc-origin: {error}");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    listener: usize,
    answers: Arc<Vec<Fixed>>,
) -> Result<(), h2::Error> {
    let mut connection = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // A stream that was reset, at the end of a run: whoever called knows it.
            drop(answer(request, respond, listener, &answers).await);
        });
    }
    Ok(())
}

/// Reads the call to its end, as a server does that decodes it, and answers.
async fn answer(
    mut request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    listener: usize,
    answers: &[Fixed],
) -> Result<(), h2::Error> {
    let body = request.body_mut();
    while let Some(piece) = body.data().await {
        let length = piece?.len();
        body.flow_control().release_capacity(length)?;
    }
    let path = request.uri().path();
    let message = if path == "/headers" {
        Some((echo(request.headers(), listener), 1))
    } else {
        let mut fixed = answers.iter();
        fixed
            .find(|fixed| fixed.path == path)
            .map(|fixed| (fixed.message.clone(), fixed.count))
    };
    let mut head = Response::new(());
    head.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut stream = respond.send_response(head, false)?;
    let status = if message.is_some() {
        "0"
    } else {
        UNIMPLEMENTED
    };
    if let Some((message, count)) = message {
        // A stream of a few messages fits into the windows of clients, and is queued otherwise.
        for _ in 0..count {
            stream.send_data(message.clone(), false)?;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    stream.send_trailers(trailers)
}

fn echo(fields: &HeaderMap, listener: usize) -> Bytes {
    let mut text = format!("listener: {listener}\r\n").into_bytes();
    for (name, value) in fields {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    Bytes::from(longshore_benches::grpc_message(&text))
}
