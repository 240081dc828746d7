"""A mail server for tests: python mail_server.py FOLDER PLAN

It listens on a free port of 127.0.0.1, prints the port, and ends when its standard input does. Each mail that it is sent
is a file N.json in the folder: `to`, `headers`, `text`, `html`, `images` and `attachments` (names and base64).
PLAN is a list of words with commas, one for each mail, and `take` from then on: `take`, `refuse` (550 for the recipient),
`busy` (451), `stall` (no answer after DATA for five seconds), `drop` (the connection ends after DATA, the mail is kept).
"""

import asyncio
import base64
import email
import email.policy
import json
import os
import sys

from aiosmtpd.controller import Controller


class Handler:
    def __init__(self, folder, plan):
        self.folder, self.plan, self.count = folder, plan, 0
        self.kept = 0

    def next(self):
        word = self.plan[self.count] if self.count < len(self.plan) else "take"
        self.count += 1
        return word

    async def handle_RCPT(self, server, session, envelope, address, options):
        session.word = self.next()
        if session.word == "refuse":
            return "550 5.1.1 no such user"
        if session.word == "busy":
            return "451 4.3.2 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.keep(envelope)
        if session.word == "drop":
            server.transport.close()
        if session.word == "stall":
            await asyncio.sleep(5)
        return "250 OK"

    def keep(self, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {"to": envelope.rcpt_tos, "headers": {k: str(v) for k, v in message.items()}}
        mail.update(text="", html="", images={}, attachments={})
        for part in message.walk():
            if part.is_multipart():
                continue
            name, kind = part.get_filename(), part.get_content_type()
            data = base64.b64encode(part.get_payload(decode=True)).decode()
            if part["Content-ID"]:
                mail["images"][part["Content-ID"].strip("<>")] = data
            elif name:
                mail["attachments"][name] = data
            elif kind == "text/plain":
                mail["text"] = part.get_content()
            elif kind == "text/html":
                mail["html"] = part.get_content()
        self.kept += 1
        path = os.path.join(self.folder, f"{self.kept:05}.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(mail, file)
        os.rename(path + ".new", path)


def main():
    folder, plan = sys.argv[1], [word for word in sys.argv[2].split(",") if word]
    controller = Controller(Handler(folder, plan), hostname="127.0.0.1", port=0)
    # The controller asks its own port whether it listens; port 0 has to be bound first.
    loop = controller.loop
    server = loop.run_until_complete(
        loop.create_server(controller._factory_invoker, host="127.0.0.1", port=0)
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.run_in_executor(None, lambda: (sys.stdin.read(), os._exit(0)))
    loop.run_forever()


main()
