"""Says what AWS would refuse of the task definitions that are named: by the SDK's own model of the
API, and by moto's ECS, which registers them."""

import json
import os
import sys

os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="eu-central-1")

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402

with mock_aws():
    ecs = boto3.client("ecs")
    for path in sys.argv[1:]:
        with open(path) as file:
            definition = json.load(file)
        answer = ecs.register_task_definition(**definition)["taskDefinition"]
        names = [container["name"] for container in answer["containerDefinitions"]]
        print(f"{os.path.basename(path)}: {answer['family']}:{answer['revision']} {','.join(names)}")
