"""Reads an access log with the library aws-log-parser, for tests/it/access_log.rs.

Prints each entry as a line of JSON, as the library understands it.
"""

import json
import os
import sys

# The library makes a client of AWS before it reads a file, and asks nobody with it.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

from aws_log_parser import AwsLogParser, LogType

for entry in AwsLogParser(log_type=LogType.LoadBalancer).read_file(sys.argv[1]):
    print(
        json.dumps(
            {
                "type": entry.type.value,
                "elb": entry.elb,
                "client": entry.client and entry.client.ip,
                "target_port": entry.target and entry.target.port,
                "request": entry.request_processing_time,
                "status": entry.elb_status_code,
                "target_status": entry.target_status_code,
                "method": entry.http_request.method,
                "url": entry.http_request.url,
                "user_agent": entry.user_agent,
                "group": entry.target_group_arn,
                "trace": entry.trace_id,
                "rule": entry.matched_rule_priority,
                "created": entry.request_creation_time.year,
                "actions": entry.actions_executed,
                "redirect": entry.redirect_url,
                "error": entry.error_reason and entry.error_reason.name,
            }
        )
    )
