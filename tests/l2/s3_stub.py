# SPDX-License-Identifier: Apache-2.0
"""An object store that checks everything and misbehaves when told to.

Signatures (AWS SigV4) and payload hashes are recomputed from the bytes on the wire. Faults are
queued by stub.fault(action, method=..., query=..., times=..., path=...): each request that matches takes one;
query is looked for in the query and in the header Range.
Stub(certificate=(file, key file)) speaks TLS.
"""
import base64
import hashlib
import hmac
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

ACCESS, SECRET, REGION, BUCKET = "AKIDSTUB", "stub/secret+key", "test-1", "bucket"
SAFE = "-_.~"


def sign(secret, date, region, text):
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Refused(Exception):
    def __init__(self, status, code, message=""):
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Stub(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, **settings):
        super().__init__(("127.0.0.1", 0), Handler)
        self.secret, self.token = SECRET, None
        self.on_expired = lambda: None  # before a request with another token is refused
        self.lavish = False  # lists more uploads than are asked for
        self.objects, self.uploads = {}, {}  # key: (bytes, time); id: [key, time, parts]
        self.faults, self.requests, self.unsigned = [], [], 0
        self.lock = threading.Lock()
        self.certificate = None  # (file, file of its key): then it speaks TLS
        self.__dict__.update(settings)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.endpoint = f"http://{self.address}"
        if self.certificate:
            self.endpoint = f"https://{self.address}"
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.options |= ssl.OP_NO_TICKET  # every connection shows the certificate of its time
            self.tls.num_tickets = 0
            self.tls.load_cert_chain(*self.certificate)
            # the handshake is for the connection's own thread
            self.socket = self.tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # cut connections are wanted

    def fault(self, action, method=None, query="", times=1, value=None, path=""):
        self.faults.append([action, method, query, times, value, path])

    def take_fault(self, method, path, query, span):
        with self.lock:
            self.requests.append((method, query))
            for fault in self.faults:
                if (
                    fault[3] > 0
                    and fault[1] in (None, method)
                    and fault[2] in f"{query} {span}"
                    and fault[5] in path
                ):
                    fault[3] -= 1
                    return fault[0], fault[4]
        return None, None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # --- checks ---

    def check(self, body):
        auth = dict(
            item.strip().split("=", 1)
            for item in self.headers["Authorization"].split(" ", 1)[1].split(",")
        )
        access, date, region, _, _ = auth["Credential"].split("/")
        names = auth["SignedHeaders"].split(";")
        stamp = self.headers["X-Amz-Date"]
        if any(self.headers[name] is None for name in names):
            raise Refused(403, "SignatureDoesNotMatch", "a signed header was not sent")
        path, _, query = self.path.partition("?")
        pairs = sorted(p if "=" in p else p + "=" for p in query.split("&") if p)
        decoded = urllib.parse.unquote(path)
        if urllib.parse.quote(decoded, safe=SAFE + "/") != path:
            raise Refused(400, "NotCanonical", path)
        headers = "".join(f"{n}:{' '.join((self.headers[n] or '').split())}\n" for n in names)
        payload = self.headers["x-amz-content-sha256"] or "missing"
        request = "\n".join(
            (self.command, path, "&".join(pairs), headers, ";".join(names), payload)
        )
        scope = f"{date}/{region}/s3/aws4_request"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
        if access != ACCESS or region != REGION:
            raise Refused(403, "InvalidAccessKeyId")
        if self.server.token and self.headers["x-amz-security-token"] != self.server.token:
            self.server.on_expired()
            raise Refused(400, "ExpiredToken", "The provided token has expired.")
        if not hmac.compare_digest(sign(self.server.secret, date, region, text), auth["Signature"]):
            raise Refused(403, "SignatureDoesNotMatch")
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(body).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch")
        self.server.unsigned += payload == "UNSIGNED-PAYLOAD"
        if "host" not in names or "x-amz-content-sha256" not in names:
            raise Refused(403, "AccessDenied", "headers are not signed")

    # --- answers ---

    def answer(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("x-amz-request-id", "STUB0001")
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, code, message=""):
        xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        self.answer(status, xml.encode())

    def cut(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    # --- requests ---

    def serve(self):
        size = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            return self.cut()
        path, _, query = self.path.partition("?")
        fault, value = self.server.take_fault(self.command, path, query, self.headers["Range"])
        if fault == "status":
            return self.error(*value)
        if fault == "hang":
            time.sleep(value)
            return self.cut()
        if fault == "cut":
            return self.cut()
        if fault == "late":
            time.sleep(value)
        if fault == "call":
            value()
        try:
            self.check(body)
            host = self.headers["Host"].split(":")[0]
            if host.startswith(BUCKET + "."):
                key = urllib.parse.unquote(path)[1:]
            else:
                _, bucket, key = urllib.parse.unquote(path).split("/", 2)
                if bucket != BUCKET:
                    raise Refused(404, "NoSuchBucket")
            args = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
            return getattr(self, "on_" + self.command.lower())(key, args, body, fault, value)
        except Refused as refused:
            return self.error(refused.status, refused.code, refused.message)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def on_get(self, key, args, _, fault, value):
        server = self.server
        if "uploads" in args:
            return self.list_uploads(args)
        if "list-type" in args:
            return self.list_objects(args)
        if "uploadId" in args:
            if args["uploadId"] not in server.uploads:
                raise Refused(404, "NoSuchUpload")
            return self.answer(200, b"<ListPartsResult><Part><PartNumber>1</PartNumber></Part></ListPartsResult>")
        if key not in server.objects:
            raise Refused(404, "NoSuchKey")
        data, _ = server.objects[key]
        if fault == "flip":
            data = bytearray(data)
            data[value] ^= 1
        status, headers = 200, []
        if self.headers["Range"] and fault != "ignore range":
            first, last = (int(n) for n in self.headers["Range"][6:].split("-"))
            if first >= len(data):
                raise Refused(416, "InvalidRange")
            headers = [("Content-Range", f"bytes {first}-{last}/{len(data)}")]
            status, data = 206, data[first : last + 1]
        headers.append(("ETag", '"etag"'))
        if fault == "short body":
            self.answer(status, bytes(data[: len(data) // 2]), headers, len(data))
            return self.cut()
        if fault == "short answer":
            data = data[:-1]
        return self.answer(status, bytes(data), headers)

    def list_uploads(self, args):
        """Behind a key and an upload of it, as S3 does: without the latter, behind all of the key."""
        found = sorted((k, i, t) for i, (k, t, _) in list(self.server.uploads.items()))
        key, upload = args.get("key-marker", ""), args.get("upload-id-marker")
        found = [f for f in found if f[0].startswith(args.get("prefix", ""))]
        found = [f for f in found if not key or f[0] > key or (upload and f[0] == key and f[1] > upload)]
        page = found[: min(1000, 1000 if self.server.lavish else int(args.get("max-uploads", 1000)))]
        rows = "".join(
            f"<Upload><Key>{escape(k)}</Key><UploadId>{escape(i)}</UploadId><Initiated>{t}</Initiated></Upload>"
            for k, i, t in page
        )
        more = len(found) > len(page)
        if more:
            rows += f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker><NextUploadIdMarker>{escape(page[-1][1])}</NextUploadIdMarker>"
        rows += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return self.answer(200, f"<ListMultipartUploadsResult>{rows}</ListMultipartUploadsResult>".encode())

    def list_objects(self, args):
        server = self.server
        keys = sorted(k for k in list(server.objects) if k.startswith(args["prefix"]))
        after = args.get("continuation-token")
        keys = [k for k in keys if not after or k > base64.b64decode(after).decode()]
        page = keys[: int(args["max-keys"])]
        rows = "".join(
            f"<Contents><Key>{escape(k)}</Key><LastModified>{server.objects[k][1]}</LastModified>"
            f"<ETag>&quot;x&quot;</ETag><Size>{len(server.objects[k][0])}</Size></Contents>"
            for k in page
        )
        more = len(keys) > len(page)
        token = base64.b64encode(page[-1].encode()).decode() if more else ""
        next_token = f"<NextContinuationToken>{token}</NextContinuationToken>" if more else ""
        truncated = str(more).lower()
        xml = f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>{truncated}</IsTruncated>{next_token}{rows}</ListBucketResult>'
        return self.answer(200, xml.encode())

    def on_put(self, key, args, body, fault, value):
        etag = hashlib.md5(body).hexdigest()
        if "uploadId" in args:
            if args["uploadId"] not in self.server.uploads:
                raise Refused(404, "NoSuchUpload")
            self.server.uploads[args["uploadId"]][2][int(args["partNumber"])] = (body, etag)
        else:
            self.server.objects[key] = (body, now())
        if fault == "wrong etag":
            etag = "0" * 32
        if fault == "cut after":
            return self.cut()
        if fault == "hang after":
            time.sleep(value)
            return self.cut()
        return self.answer(200, b"", [("ETag", f'"{etag}"')])

    def on_post(self, key, args, body, fault, _):
        server = self.server
        if self.headers["Content-Type"] != "application/xml":
            raise Refused(400, "MalformedXML")
        if "uploads" in args:
            with server.lock:
                upload = f"id/+{len(server.requests)}=="
                server.uploads[upload] = [key, now(), {}]
            return self.answer(200, f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode())
        if fault == "error in 200":
            return self.error(200, "InternalError", "We encountered an internal error.")
        if args["uploadId"] not in server.uploads:
            raise Refused(404, "NoSuchUpload")
        parts = server.uploads[args["uploadId"]][2]
        wanted = "".join(
            f'<Part><PartNumber>{n}</PartNumber><ETag>"{parts[n][1]}"</ETag></Part>' for n in sorted(parts)
        )
        if body.decode() != f"<CompleteMultipartUpload>{wanted}</CompleteMultipartUpload>":
            raise Refused(400, "InvalidPart")
        server.objects[key] = (b"".join(parts[n][0] for n in sorted(parts)), now())
        del server.uploads[args["uploadId"]]
        if fault == "cut after":
            return self.cut()
        return self.answer(200, b'<CompleteMultipartUploadResult><ETag>"x-2"</ETag></CompleteMultipartUploadResult>')

    def on_delete(self, key, args, _, fault, value):
        if fault == "late part":  # one that was under way is stored behind the abort
            return self.answer(204)
        if "uploadId" in args:
            if self.server.uploads.pop(args["uploadId"], None) is None:
                raise Refused(404, "NoSuchUpload")
        else:
            self.server.objects.pop(key, None)
        return self.answer(204)
