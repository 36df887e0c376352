import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { MemoryFrameStream } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { CodedError, SeededRng, systemClock } from '#libs/kernel';
import { FramePublisher } from './frame-publisher.ts';
import { recordingLimits } from './limits.ts';
import { Recorder } from './recorder.ts';
import { samplePick, sampleRecord } from './samples.fixture.ts';
import { Spool } from './spool.ts';

/** Time that stands still until it is moved. */
class ManualTime {
  nowMs = 1_000_000;
  #due: { atMs: number; fn: () => void }[] = [];

  readonly environment: Environment = {
    clock: { nowMs: () => this.nowMs, monotonicMs: () => this.nowMs },
    timers: {
      after: (delayMs, fn) => this.#add(delayMs, fn),
      every: () => {
        throw new Error('not used');
      },
      sleep: (delayMs) => new Promise((resolve) => void this.#add(delayMs, resolve)),
    },
    rng: new SeededRng(1),
    ids: { uuid: () => 'boot' },
  };

  #add(delayMs: number, fn: () => void): Timer {
    const entry = { atMs: this.nowMs + delayMs, fn };
    this.#due.push(entry);
    return {
      cancel: () => {
        this.#due = this.#due.filter((other) => other !== entry);
      },
    };
  }

  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await settle();
    for (;;) {
      const next = this.#due.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#due = this.#due.filter((other) => other !== next);
      this.nowMs = next.atMs;
      next.fn();
      await settle();
    }
    this.nowMs = endMs;
  }
}

/** Lets everything run that waits for nothing but its turn. */
const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** A bus that is well, away, loses answers of what it stored, or hangs. */
class FaultyStream extends MemoryFrameStream {
  mode: 'well' | 'away' | 'answer-lost' | 'hangs' | 'too-large' = 'well';

  override async publish(
    subject: string,
    msgId: string,
    bytes: Uint8Array,
  ): Promise<{ seq: number; duplicate: boolean }> {
    if (this.mode === 'away') throw new CodedError('FRAMES_UNAVAILABLE', 'away');
    if (this.mode === 'too-large') throw new CodedError('FRAMES_TOO_LARGE', 'too large');
    if (this.mode === 'hangs') return new Promise(() => {});
    const stored = await super.publish(subject, msgId, bytes);
    if (this.mode === 'answer-lost') throw new CodedError('FRAMES_UNAVAILABLE', 'answer lost');
    return stored;
  }
}

let folder: string;
let time: ManualTime;
let stream: FaultyStream;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lintel-recording-'));
  time = new ManualTime();
  stream = new FaultyStream({ clock: systemClock });
});
afterEach(() => rmSync(folder, { recursive: true }));

const pick = samplePick(3);

function boot(bootId = 'b1', bytesMax?: number) {
  const { environment } = time;
  const spool = new Spool({ folder, ...(bytesMax === undefined ? {} : { bytesMax }) });
  const publisher = new FramePublisher({ stream, spool, environment });
  const recorder = new Recorder({ gatewayId: 'gw', bootId, environment, offer: (frame) => publisher.offer(frame) });
  publisher.start();
  return {
    spool,
    publisher,
    recorder,
    record: (id: string) => recorder.record(sampleRecord([pick], { requestId: id })),
  };
}

async function stored(): Promise<{ ids: string[]; dropped: number; seqs: string[] }> {
  const ids: string[] = [];
  const seqs: string[] = [];
  let dropped = 0;
  for await (const { bytes } of stream.read({ fromSeq: 1 })) {
    const frame = fromBinary(route.RecordFrameSchema, bytes);
    dropped += frame.dropped;
    seqs.push(`${frame.bootId}/${frame.frameSeq}`);
    ids.push(...frame.records.map(({ requestId }) => requestId));
  }
  return { ids, dropped, seqs };
}

test('records go out within the period, in order', async () => {
  const { record, recorder } = boot();
  record('a');
  record('b');
  await time.advance(recordingLimits.framePeriodMs);
  record('c');
  await time.advance(recordingLimits.framePeriodMs);
  expect(await stored()).toEqual({ ids: ['a', 'b', 'c'], dropped: 0, seqs: ['b1/1', 'b1/2'] });
  expect(recorder.status()).toMatchObject({ recorded: 3, dropped: 0, waiting: 0, frames: 2 });
});

test('many records close a frame early', async () => {
  const { record } = boot();
  for (let i = 0; i < recordingLimits.recordsPerFrameMax; i++) record(`r${i}`);
  await settle();
  // No time has passed: what came early came because a frame was full, of records or of bytes.
  expect((await stored()).ids.length).toBeGreaterThan(recordingLimits.recordsPerFrameMax / 2);
});

test('with the bus away frames wait on disk and follow in order, once, while new ones come', async () => {
  const { record, publisher, spool } = boot();
  record('a');
  await time.advance(60);
  stream.mode = 'away';
  for (const id of ['b', 'c', 'd']) {
    record(id);
    await time.advance(60);
  }
  expect(publisher.status()).toMatchObject({ busAway: true, queued: 0 });
  expect(spool.frames).toBe(3);
  stream.mode = 'well';
  record('e');
  await time.advance(5000);
  expect(await stored()).toMatchObject({ ids: ['a', 'b', 'c', 'd', 'e'], dropped: 0 });
  expect(spool.frames).toBe(0);
});

test('a lost answer is no second frame', async () => {
  const { record, publisher } = boot();
  stream.mode = 'answer-lost';
  record('a');
  await time.advance(100);
  stream.mode = 'well';
  await time.advance(5000);
  expect((await stored()).ids).toEqual(['a']);
  expect(publisher.status().duplicates).toBeGreaterThan(0);
});

test('killed while the bus was away: the next process sends what was on disk first', async () => {
  const first = boot('b1');
  stream.mode = 'away';
  for (const id of ['a', 'b']) {
    first.record(id);
    await time.advance(60);
  }
  first.record('lost with the process');
  const killed = time;
  time = new ManualTime();
  time.nowMs = killed.nowMs;
  stream.mode = 'well';
  const second = boot('b2');
  second.record('c');
  await time.advance(5000);
  expect(await stored()).toEqual({ ids: ['a', 'b', 'c'], dropped: 0, seqs: ['b1/1', 'b1/2', 'b2/1'] });
});

test('a bus that hangs does not hold frames in memory', async () => {
  const { record, spool } = boot();
  stream.mode = 'hangs';
  for (const id of ['a', 'b', 'c']) {
    record(id);
    await time.advance(60);
  }
  expect(spool.frames).toBe(0);
  await time.advance(recordingLimits.spillAfterMs);
  expect(spool.frames).toBe(3);
  stream.mode = 'well';
  await time.advance(20_000);
  expect((await stored()).ids).toEqual(['a', 'b', 'c']);
});

test('L8 with memory and disk full the gap is counted, recorded, and its frame number used again', async () => {
  const { record, recorder } = boot('b1', 0);
  stream.mode = 'away';
  const total = recordingLimits.framesQueuedMax + 10;
  for (let i = 0; i < total; i++) {
    record(`r${i}`);
    await time.advance(60);
  }
  expect(recorder.status().dropped).toBe(10);
  stream.mode = 'well';
  await time.advance(20_000);
  const { ids, dropped, seqs } = await stored();
  expect([ids.length, dropped]).toEqual([recordingLimits.framesQueuedMax, 10]);
  expect(seqs).toEqual(seqs.map((_, index) => `b1/${index + 1}`));
});

test('a frame that the stream never takes does not block the others', async () => {
  const { record, publisher } = boot();
  stream.mode = 'too-large';
  record('a');
  await time.advance(60);
  stream.mode = 'well';
  record('b');
  await time.advance(60);
  expect((await stored()).ids).toEqual(['b']);
  expect(publisher.status().rejected).toBe(1);
});

test('stop sends what is left, or leaves it on disk', async () => {
  const first = boot('b1');
  first.record('a');
  first.recorder.flush();
  await first.publisher.stop();
  expect((await stored()).ids).toEqual(['a']);
  stream.mode = 'away';
  const second = boot('b2');
  second.record('b');
  second.recorder.flush();
  await settle();
  await second.publisher.stop();
  expect(new Spool({ folder }).frames).toBe(1);
});

test('L8 under any order of faults and kills: what was told as spooled or stored arrives once and in order', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    rmSync(folder, { recursive: true });
    const rng = new SeededRng(seed);
    stream = new FaultyStream({ clock: systemClock });
    let gateway = boot('b0');
    let sent = 0;
    let lost = 0;
    for (let step = 0; step < 40; step++) {
      stream.mode = (['well', 'well', 'away', 'answer-lost', 'hangs'] as const)[rng.below(5)] as 'well';
      gateway.record(String(sent++).padStart(4, '0'));
      await time.advance(rng.below(200));
      if (!rng.chance(0.1)) continue;
      // Killed: what waits in memory is the stated loss.
      lost += gateway.recorder.status().waiting + gateway.publisher.status().queuedRecords;
      const { nowMs } = time;
      time = new ManualTime();
      time.nowMs = nowMs;
      gateway = boot(`b${step + 1}`);
    }
    stream.mode = 'well';
    await time.advance(30_000);
    const { ids } = await stored();
    expect(ids).toEqual([...new Set(ids)].sort());
    expect(ids.length).toBeGreaterThanOrEqual(sent - lost);
    gateway.spool.close();
  }
});
