"""A DNS server for the tests: answers from a zone file, which is read anew for each question.

Usage: python dns_server.py ZONE [--port PORT] [--glue]

It listens on 127.0.0.1, with UDP and TCP on one port, says which in its first line, and ends when
its standard input does. The messages are written by dnslib, which this project did not write.
"""

import argparse
import sys

from dnslib import QTYPE, RCODE, RR
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer


class Zone(BaseResolver):
    """What an authoritative server says: records, or that there are none, with the SOA record."""

    def __init__(self, path, glue):
        self.path = path
        self.glue = glue

    def resolve(self, request, handler):
        reply = request.reply()
        try:
            with open(self.path, encoding="ascii") as file:
                records = list(RR.fromZone(file.read()))
        except Exception:  # of any kind: the zone is unusable, which has a code of its own
            reply.header.rcode = RCODE.SERVFAIL
            return reply
        name, wanted = request.q.qname, QTYPE[request.q.qtype]
        soa = [record for record in records if QTYPE[record.rtype] == "SOA"]
        if not any(name.matchSuffix(record.rname) for record in soa):
            reply.header.rcode = RCODE.REFUSED
            return reply
        exists = True
        for _ in range(8):  # CNAMEs, one after the other
            own = [record for record in records if record.rname == name]
            exists = bool(own)
            found = [record for record in own if QTYPE[record.rtype] == wanted]
            alias = [record for record in own if QTYPE[record.rtype] == "CNAME"]
            reply.add_answer(*(found or alias))
            if found or not alias:
                break
            name = alias[0].rdata.label
        if not found:
            reply.add_auth(*soa)
            if not exists:
                reply.header.rcode = RCODE.NXDOMAIN
        if self.glue and wanted == "SRV":
            hosts = {record.rdata.target for record in found}
            reply.add_ar(
                *(r for r in records if r.rname in hosts and QTYPE[r.rtype] in ("A", "AAAA"))
            )
        if handler.protocol == "udp":
            # What the other side says it can take (EDNS, RFC 6891), or 512 bytes (RFC 1035).
            sizes = [r.rclass for r in request.ar if QTYPE[r.rtype] == "OPT"]
            if len(reply.pack()) > max(512, *sizes, 0):
                # Not reply.truncate(), which leaves out the question, too.
                short = request.reply()
                short.header.rcode = reply.header.rcode
                short.header.tc = 1
                return short
        return reply


class Handler(DNSHandler):
    """Without the limit of the library: the resolver has a better one."""

    udplen = 0


def main():
    parser = argparse.ArgumentParser(description="A DNS server for the tests")
    parser.add_argument("zone")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--glue", action="store_true")
    args = parser.parse_args()
    zone = Zone(args.zone, args.glue)

    def listen(port, tcp):
        return DNSServer(
            zone,
            address="127.0.0.1",
            port=port,
            tcp=tcp,
            handler=Handler,
            logger=DNSLogger(log="-request,-reply,-truncated,-error"),
        )

    for attempt in range(20):
        udp = listen(args.port, False)
        port = udp.server.server_address[1]
        try:
            tcp = listen(port, True)
            break
        except OSError:  # somebody else has that port with TCP
            udp.server.server_close()
    else:
        sys.exit("no port is free for both UDP and TCP")
    udp.start_thread()
    tcp.start_thread()
    print(f"listening 127.0.0.1:{port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
