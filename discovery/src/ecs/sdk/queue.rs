//! The calls to an SQS queue.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use tokio::sync::OnceCell;

use super::super::api::{ApiError, ErrorKind};
use super::super::feed::{QueueApi, Received};
use super::Aws;

/// The longest that one call may take beyond the wait for messages.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The most messages of one call (SQS: 10).
const BATCH: i32 = 10;

/// How long SQS hides a message from other calls until it is deleted. Handing it over takes no
/// time; a process that ends in between leaves it to the next one.
const HIDDEN_SECONDS: i32 = 30;

/// A queue through the SDK.
#[derive(Debug)]
pub(in super::super) struct SdkQueue {
    sqs: aws_sdk_sqs::Client,
    /// URL or name.
    queue: String,
    url: OnceCell<String>,
}

impl SdkQueue {
    pub(in super::super) async fn connect(aws: &Aws, region: Option<&str>, queue: String) -> Self {
        let config = aws.config(region).await;
        // The reader has its own pauses between tries.
        let config = aws_sdk_sqs::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            sqs: aws_sdk_sqs::Client::from_conf(config),
            queue,
            url: OnceCell::new(),
        }
    }

    async fn url(&self) -> Result<&str, ApiError> {
        let find = || async {
            if self.queue.contains("://") {
                return Ok(self.queue.clone());
            }
            let answer = self.sqs.get_queue_url().queue_name(&self.queue);
            let answer = answer.send().await;
            let answer = answer.map_err(|error| failed("GetQueueUrl", error))?;
            answer.queue_url.ok_or_else(|| ApiError {
                operation: "GetQueueUrl",
                reason: "the answer is empty".to_owned(),
                kind: ErrorKind::Other,
            })
        };
        self.url.get_or_try_init(find).await.map(String::as_str)
    }
}

impl QueueApi for SdkQueue {
    async fn receive(&self, wait: Duration) -> Result<Vec<Received>, ApiError> {
        let limit = wait + CALL_LIMIT;
        let limits = TimeoutConfig::builder()
            .operation_timeout(limit)
            .operation_attempt_timeout(limit)
            .build();
        let answer = self
            .sqs
            .receive_message()
            .queue_url(self.url().await?)
            .max_number_of_messages(BATCH)
            .visibility_timeout(HIDDEN_SECONDS)
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(0))
            .customize()
            .config_override(aws_sdk_sqs::config::Builder::new().timeout_config(limits))
            .send()
            .await
            .map_err(|error| failed("ReceiveMessage", error))?;
        let messages = answer.messages.unwrap_or_default().into_iter();
        Ok(messages
            .filter_map(|message| {
                Some(Received {
                    body: message.body.unwrap_or_default(),
                    receipt: message.receipt_handle?,
                })
            })
            .collect())
    }

    async fn delete(&self, receipts: Vec<String>) -> Result<(), ApiError> {
        let entries = receipts.into_iter().enumerate();
        let entries: Result<Vec<_>, _> = entries
            .map(|(index, receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(receipt)
                    .build()
            })
            .collect();
        let entries = entries.map_err(|error| ApiError {
            operation: "DeleteMessageBatch",
            reason: error.to_string(),
            kind: ErrorKind::Other,
        })?;
        let answer = self
            .sqs
            .delete_message_batch()
            .queue_url(self.url().await?)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|error| failed("DeleteMessageBatch", error))?;
        match answer.failed().first() {
            None => Ok(()),
            Some(first) => Err(ApiError {
                operation: "DeleteMessageBatch",
                reason: format!("{} of them: {}", answer.failed().len(), first.code()),
                kind: ErrorKind::Other,
            }),
        }
    }
}

fn failed<E>(operation: &'static str, error: E) -> ApiError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    ApiError {
        operation,
        reason: DisplayErrorContext(error).to_string(),
        kind: ErrorKind::Other,
    }
}
