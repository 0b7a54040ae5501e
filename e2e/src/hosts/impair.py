"""A bad link between two network namespaces.

    impair.py <namespace> <namespace>

Makes a TUN device named `bad` in each namespace and carries packets between them according to the last line of its
input, a JSON object: {"lossPercent": 2, "delayMs": 50, "rateKbps": 3000, "queueMs": 200, "seed": 1}. Both directions
have the same settings and are independent of each other. The delay is for one direction. A packet that would have to
wait longer than `queueMs` is lost, as in a full router. The caller gives the devices their routes after this program
has printed "ready". At the end of its input the program ends, and the devices vanish. It answers each line of input
with a line that counts the packets carried and lost.

The kernel's own netem would do the same, but not every kernel that these tests run on has it; all of them have TUN.
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_HEADER = 0x1001
CLONE_NEWNET = 0x40000000
PACKETS_AT_ONCE = 64
LARGEST_PACKET = 65536

libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace_fd):
    if libc.setns(namespace_fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def open_device(namespace):
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    enter(there)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"bad", IFF_TUN_WITHOUT_HEADER))
    enter(home)
    os.close(home)
    os.close(there)
    return device


class Direction:
    def __init__(self, source, destination, seed):
        self.source = source
        self.destination = destination
        self.random = random.Random(seed)
        self.free_at = 0.0
        self.under_way = []
        self.sequence = 0
        self.carried = 0
        self.lost = 0

    def take(self, packet, now, settings):
        if self.random.random() * 100 < settings.get("lossPercent", 0):
            self.lost += 1
            return
        leaves_at = now
        rate = settings.get("rateKbps", 0)
        if rate > 0:
            begins_at = max(now, self.free_at)
            if begins_at - now > settings.get("queueMs", 200) / 1000:
                self.lost += 1
                return
            leaves_at = self.free_at = begins_at + len(packet) * 8 / (rate * 1000)
        self.sequence += 1
        arrives_at = leaves_at + settings.get("delayMs", 0) / 1000
        heapq.heappush(self.under_way, (arrives_at, self.sequence, packet))

    def deliver(self, now):
        while self.under_way and self.under_way[0][0] <= now:
            packet = heapq.heappop(self.under_way)[2]
            try:
                os.write(self.destination, packet)
                self.carried += 1
            except OSError:
                self.lost += 1  # the device is down, or its queue is full


def main():
    devices = [open_device(namespace) for namespace in sys.argv[1:3]]
    settings = {}
    directions = [Direction(devices[0], devices[1], 1), Direction(devices[1], devices[0], 2)]
    print("ready", flush=True)
    text = b""
    while True:
        next_at = min((each.under_way[0][0] for each in directions if each.under_way), default=None)
        wait = None if next_at is None else max(0, next_at - time.monotonic())
        readable = select.select([0, *devices], [], [], wait)[0]
        now = time.monotonic()
        for direction in directions:
            if direction.source not in readable:
                continue
            for _ in range(PACKETS_AT_ONCE):
                try:
                    packet = os.read(direction.source, LARGEST_PACKET)
                except OSError:
                    break  # nothing more now, or the device isn't up yet
                direction.take(packet, now, settings)
        for direction in directions:
            direction.deliver(time.monotonic())
        if 0 in readable:
            read = os.read(0, 4096)
            if not read:
                return
            *lines, text = (text + read).split(b"\n")
            for line in lines:
                settings = json.loads(line)
                for number, direction in enumerate(directions):
                    if "seed" in settings:
                        direction.random = random.Random(settings["seed"] + number)
                counts = [{"carried": each.carried, "lost": each.lost} for each in directions]
                print(json.dumps(counts), flush=True)


main()
