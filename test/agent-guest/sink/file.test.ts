/** push=FILE: the whole stream lies in the file, with checksums, and its sums agree. */
import { describe, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { FileSink } from "../../../agent-guest/sink/file_sink.ts";
import type { SinkHost } from "../../../agent-guest/sink/sink.ts";
import { readMachineInfo } from "../../../shared/event/machine.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { ClockSource } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import {
  callGetpgrp,
  callGetppid,
  NO_TRACING,
  OWN_GETPGRP,
  OWN_GETPPID,
} from "../../shared/event/kernel.ts";
import { MappedRing } from "../support/mapped_ring.ts";
import { SocketPair } from "../support/socket_pair.ts";
import { StreamReader } from "../support/stream_reader.ts";
import { readStreamFile, startTrace, startTraceOf, untilSampling } from "../support/trace.ts";

test("FileSink.releasable() keeps a record whose end the file has not taken", () => {
  using pair = new SocketPair("stream");
  using ring = new MappedRing(1024 * 1024);
  const host = { rings: [ring.cpuRing] } as unknown as SinkHost;
  const sink = new FileSink("x.vms", host, pair.writer.number);
  // More than the longest span, which ends within a record, and than the descriptor takes.
  ring.writeSamples(5000, 104);
  sink.send();
  const [outlet] = sink.outlets;
  expect(outlet!.isBlocked).toBe(true);
  expect(outlet!.positions[0]! % 104).not.toBe(0);
  expect(sink.releasable(0)).toBe(outlet!.positions[0]! - (outlet!.positions[0]! % 104));
});

describe.skipIf(NO_TRACING !== "")("FileSink", () => {
  test("a file holds every event once, in order per CPU, and the ledger agrees", async () => {
    await using trace = await startTrace("FOLDER/x.vms");
    await untilSampling(trace, "x.vms");
    callGetppid(5000);
    const ledgers = await trace.stop();
    expect(ledgers).toEqual([{ produced: 5000, lostKernel: 0, dropped: 0, forwarded: 5000 }]);
    const reader = readStreamFile(trace, "x.vms");
    expect(reader.samples).toBe(5000);
    expect(reader.numbers.toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 5000 }, (_, i) => i),
    );
    expect(reader.gaps).toEqual([]);
    expect(reader.ledger()).toEqual({ produced: 5000, lostKernel: 0, dropped: 0, final: true });
    expect(reader.bye).toMatchObject({ exitCode: 0 });
  });

  test("a file is frames and nothing else, each with its checksum, in sequence", async () => {
    await using trace = await startTrace("FOLDER/x.vms");
    await untilSampling(trace, "x.vms");
    callGetppid(20_000);
    await trace.stop("SIGTERM");
    const { counters } = readStreamFile(trace, "x.vms").decoder;
    expect(counters.frameBytes).toBe(statSync(trace.workspace.file("x.vms")).size);
    expect(counters).toMatchObject({ badChecksums: 0, garbageBytes: 0, sequenceGaps: 0 });
    // One bit anywhere in a payload is noticed.
    const bytes = readFileSync(trace.workspace.file("x.vms"));
    bytes[bytes.length >> 1]! ^= 0x10;
    const damaged = new StreamReader();
    damaged.push(bytes);
    const { badChecksums, garbageBytes } = damaged.decoder.counters;
    expect(badChecksums + garbageBytes).toBeGreaterThan(0);
  });

  test("Hello comes first and says all that the records need", async () => {
    await using trace = await startTrace("FOLDER/x.vms", ["--tsc", "-m", "64"]);
    await untilSampling(trace, "x.vms");
    await trace.stop();
    const reader = readStreamFile(trace, "x.vms");
    const machine = readMachineInfo();
    expect(reader.frameTypes[0]).toBe(FrameType.HELLO);
    expect(reader.hello).toMatchObject({
      attachNonce: 0n,
      bootId: machine.bootId,
      kernelRelease: machine.kernelRelease,
      machine: "x86_64",
      twoWay: false,
      tscDisplay: true,
      eventCount: 1,
      ringBytes: 64 * 4096,
    });
    expect(reader.hello!.streamNonce).not.toBe(0n);
    expect(reader.hello!.cpus.map(({ cpu, apicId }) => [cpu, apicId])).toEqual([
      ...machine.apicIds,
    ]);
    expect(reader.hello!.clock!.source).not.toBe(ClockSource.UNSPECIFIED);
    const [event] = reader.events;
    expect(event).toMatchObject({ system: "raw_syscalls", name: "sys_enter", sampleIdAll: true });
    expect(new TextDecoder().decode(event!.format)).toContain(`ID: ${event!.commonType}\n`);
    expect(event!.filter).toContain("id==110");
    expect(reader.comms.get(1)).toBe(readFileSync("/proc/1/comm", "latin1").trim());
    expect(reader.clockSamples.length).toBeGreaterThan(0);
  });

  test("two events in one file are told apart", async () => {
    await using trace = await startTraceOf(({ path }) => [
      `${OWN_GETPPID()}push=${path}/x.vms/alias=parent/`,
      // The same file by another name: one stream, not two that overwrite each other.
      `${OWN_GETPGRP()}push=file:${path}/x.vms/`,
    ]);
    await untilSampling(trace, "x.vms");
    callGetppid(300);
    callGetpgrp(200);
    const ledgers = await trace.stop();
    expect(ledgers).toEqual([{ produced: 500, lostKernel: 0, dropped: 0, forwarded: 500 }]);
    const reader = readStreamFile(trace, "x.vms");
    expect(reader.samples).toBe(500);
    expect(reader.events.map(({ alias, index }) => [alias, index])).toEqual([
      ["parent", 0],
      ["", 1],
    ]);
    const ids = reader.events.flatMap((event) => event.ids);
    expect(new Set(ids).size).toBe(2 * reader.hello!.cpus.length);
  });

  test("two files hold two streams", async () => {
    await using trace = await startTraceOf(({ path }) => [
      `${OWN_GETPPID()}push=${path}/a.vms/`,
      `${OWN_GETPGRP()}push=${path}/b.vms/`,
    ]);
    await untilSampling(trace, "a.vms", "b.vms");
    callGetppid(30);
    callGetpgrp(20);
    expect((await trace.stop()).map(({ forwarded }) => forwarded)).toEqual([30, 20]);
    const [first, second] = [readStreamFile(trace, "a.vms"), readStreamFile(trace, "b.vms")];
    expect([first.samples, second.samples]).toEqual([30, 20]);
    expect(first.hello!.streamNonce).not.toBe(second.hello!.streamNonce);
  });

  test("what a ring of one page cannot hold is lost, counted, and the rest is whole", async () => {
    await using trace = await startTrace("FOLDER/x.vms", ["-m", "1"]);
    await untilSampling(trace, "x.vms");
    callGetppid(200_000);
    const [ledger] = await trace.stop();
    expect(ledger!.produced).toBe(200_000);
    expect(ledger!.lostKernel).toBeGreaterThan(0);
    const reader = readStreamFile(trace, "x.vms");
    expect(reader.samples + ledger!.lostKernel).toBe(200_000);
    expect(new Set(reader.numbers).size).toBe(reader.samples);
    expect(reader.gaps).toEqual([]);
    expect(reader.ledger()).toMatchObject({ produced: 200_000, lostKernel: ledger!.lostKernel });
  });

  test("a file is private, and what it held before is gone", async () => {
    await using trace = await startTraceOf((workspace) => {
      writeFileSync(workspace.file("x.vms"), "x".repeat(1_000_000), { mode: 0o600 });
      return [`${OWN_GETPPID()}push=${workspace.path}/x.vms/`];
    });
    await untilSampling(trace, "x.vms");
    await trace.stop();
    expect(readStreamFile(trace, "x.vms").decoder.counters.garbageBytes).toBe(0);
    expect(statSync(trace.workspace.file("x.vms")).mode & 0o777).toBe(0o600);
  });

  test("/dev/null takes everything and ends like a file", async () => {
    await using trace = await startTrace("/dev/null");
    callGetppid(1000);
    const [ledger] = await trace.stop();
    expect(ledger!.forwarded).toBe(ledger!.produced);
  });
});
