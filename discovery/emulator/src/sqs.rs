//! The SQS side: AWS JSON 1.0 for the queues that get events.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::HOST;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::events::Queue;
use crate::faults::Fault;
use crate::server::{Answer, response};
use crate::shared::{Shared, lock};

const TARGET: &str = "AmazonSQS.";
const TYPE: &str = "application/x-amz-json-1.0";
const NO_QUEUE: &str = "com.amazonaws.sqs#QueueDoesNotExist";
/// The longest that SQS waits for a message.
const LONGEST_WAIT: u64 = 20;
/// The most messages of one answer, and the most entries of one batch.
const BATCH: u64 = 10;

/// The answer, if the request is one for SQS. An error ends the connection without an answer.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<io::Result<Answer>> {
    let target = headers.get("x-amz-target")?.to_str().ok()?;
    let operation = target.strip_prefix(TARGET)?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    Some(called(shared, operation, host.unwrap_or("localhost"), body).await)
}

async fn called(
    shared: &Arc<Shared>,
    operation: &str,
    host: &str,
    body: &[u8],
) -> io::Result<Answer> {
    *lock(&shared.calls)
        .all
        .entry(operation.to_owned())
        .or_default() += 1;
    shared.bump();
    let fault = shared.faults.decide(operation, 1);
    let delay = shared.faults.delay(operation);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let error = match fault {
        None => None,
        Some((Fault::Hang, rule)) => {
            shared.faults.cleared(rule).await;
            None
        }
        Some((Fault::CloseConnection, _)) => {
            return Err(io::Error::other("closed by a fault"));
        }
        Some((Fault::EmptyBody, _)) => return Ok(response(200, TYPE, String::new())),
        Some((Fault::MalformedBody, _)) => {
            return Ok(response(200, TYPE, "{\"Messages\":[{\"Bo".to_owned()));
        }
        Some((Fault::Throttle, _)) => {
            Some(ApiError::new(403, "RequestThrottled", "Too many calls."))
        }
        Some((Fault::ServerError, _)) => {
            Some(ApiError::new(500, "InternalFailure", "Please try again."))
        }
        Some((Fault::AccessDenied, _)) => {
            let message = format!("The role is not authorized to perform: sqs:{operation}");
            Some(ApiError::new(400, "AccessDeniedException", message))
        }
    };
    let answered = match error {
        Some(error) => Err(error),
        None => match serde_json::from_slice::<Value>(body) {
            Ok(body) => perform(shared, operation, host, &body).await,
            Err(_) => Err(ApiError::new(
                400,
                "SerializationException",
                "The body of the request is not JSON.",
            )),
        },
    };
    Ok(match answered {
        Ok(body) => response(200, TYPE, body.to_string()),
        Err(error) => {
            let body = json!({ "__type": error.code, "message": error.message });
            let mut answer = response(error.status, TYPE, body.to_string());
            if error.code == NO_QUEUE {
                // SDKs go by the name that the error had before SQS spoke JSON.
                let old = "AWS.SimpleQueueService.NonExistentQueue;Sender";
                let old = http::HeaderValue::from_static(old);
                answer.headers_mut().insert("x-amzn-query-error", old);
            }
            answer
        }
    })
}

async fn perform(
    shared: &Arc<Shared>,
    operation: &str,
    host: &str,
    body: &Value,
) -> Result<Value, ApiError> {
    match operation {
        "GetQueueUrl" => {
            let name = body["QueueName"].as_str().unwrap_or_default();
            with_queue(shared, name, |_| ())?;
            let account = shared.with(|world, _| world.options.account.clone());
            let url = format!("http://{host}/{account}/{name}");
            Ok(json!({ "QueueUrl": url }))
        }
        "ReceiveMessage" => receive(shared, body).await,
        "DeleteMessage" => {
            let receipt = body["ReceiptHandle"].as_str().unwrap_or_default();
            with_queue(shared, queue_name(body), |queue| queue.delete(receipt))?;
            Ok(json!({}))
        }
        "DeleteMessageBatch" => {
            let entries = body["Entries"].as_array().cloned().unwrap_or_default();
            if entries.is_empty() || entries.len() as u64 > BATCH {
                let message = "A batch has 1 to 10 entries.";
                return Err(ApiError::new(400, "TooManyEntriesInBatchRequest", message));
            }
            with_queue(shared, queue_name(body), |queue| {
                let deleted = entries.iter().map(|entry| {
                    queue.delete(entry["ReceiptHandle"].as_str().unwrap_or_default());
                    json!({ "Id": entry["Id"] })
                });
                let deleted: Vec<Value> = deleted.collect();
                json!({ "Successful": deleted, "Failed": [] })
            })
        }
        _ => Err(ApiError::new(
            400,
            "UnsupportedOperation",
            "The emulator knows GetQueueUrl, ReceiveMessage, DeleteMessage and DeleteMessageBatch.",
        )),
    }
}

/// Long polling: the answer comes with the first message, or when the time is over.
async fn receive(shared: &Arc<Shared>, body: &Value) -> Result<Value, ApiError> {
    let name = queue_name(body);
    let most = body["MaxNumberOfMessages"].as_u64().unwrap_or(1);
    if !(1..=BATCH).contains(&most) {
        let message = "MaxNumberOfMessages must be 1 to 10.";
        return Err(ApiError::new(400, "InvalidParameterValue", message));
    }
    let wait = body["WaitTimeSeconds"].as_u64().unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(wait.min(LONGEST_WAIT));
    let hidden = body["VisibilityTimeout"].as_u64().map(Duration::from_secs);
    let mut sent = shared.queues.sent.subscribe();
    loop {
        sent.mark_unchanged();
        let now = Instant::now();
        let (messages, next) = with_queue(shared, name, |queue| {
            let hidden = hidden.unwrap_or(queue.options.visibility_timeout);
            (queue.receive(most, hidden, now), queue.next(now))
        })?;
        if !messages.is_empty() {
            return Ok(json!({ "Messages": messages }));
        }
        if now >= until {
            return Ok(json!({}));
        }
        let wake = next.map_or(until, |next| next.min(until));
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => {}
            _ = sent.changed() => {}
            () = shared.until_closing() => return Ok(json!({})),
        }
    }
}

/// The name at the end of the URL, which is all that counts here.
fn queue_name(body: &Value) -> &str {
    let url = body["QueueUrl"].as_str().unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default()
}

fn with_queue<T>(
    shared: &Shared,
    name: &str,
    act: impl FnOnce(&mut Queue) -> T,
) -> Result<T, ApiError> {
    match lock(&shared.queues.queues).get_mut(name) {
        Some(queue) => Ok(act(queue)),
        None => Err(ApiError::new(
            400,
            NO_QUEUE,
            "The specified queue does not exist.",
        )),
    }
}

impl Queue {
    fn receive(&mut self, most: u64, hidden: Duration, now: Instant) -> Vec<Value> {
        // Those that became visible first come first. SQS promises less.
        self.messages.sort_by_key(|message| message.visible_at);
        let mut received = Vec::new();
        let receipts: Vec<String> = (0..most).map(|_| self.uuid()).collect();
        let visible = self.messages.iter_mut().filter(|m| m.visible_at <= now);
        for (message, receipt) in visible.zip(receipts) {
            received.push(json!({
                "MessageId": message.id,
                "ReceiptHandle": receipt,
                "Body": message.body,
            }));
            message.visible_at = now + hidden;
            message.receipt = Some(receipt);
        }
        received
    }

    /// When the next hidden message becomes visible.
    fn next(&self, now: Instant) -> Option<Instant> {
        let hidden = self.messages.iter().map(|message| message.visible_at);
        hidden.filter(|at| *at > now).min()
    }

    /// Deletes by the receipt of the latest receive; another one is of no effect.
    fn delete(&mut self, receipt: &str) {
        self.messages
            .retain(|message| message.receipt.as_deref() != Some(receipt));
    }
}
