"""A gRPC server with the health service of grpcio, for tests.

Prints `listening ADDRESS`. Each line of standard input is `SERVICE STATUS`, such as
`shop.Cart NOT_SERVING`, and is answered with the same line once it holds. It ends with its input.
"""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    for line in sys.stdin:
        service, status = line.split()
        servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
        print(line, end="", flush=True)
    server.stop(None).wait()


if __name__ == "__main__":
    main()
