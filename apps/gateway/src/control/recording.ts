import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Broker } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError, errorText } from '#libs/kernel';
import type { HealthReport, Registry } from '#libs/observability';
import { Counter, Gauge } from '#libs/observability';
import type { RecordInput } from '#libs/recording';
import { FramePublisher, LeftSpools, own, Recorder, recordingLimits, Spool, stillOwns } from '#libs/recording';

/** Decision records on their way to the stream; nothing at all where it is switched off. */
export interface Recording {
  record(input: RecordInput): void;
  start(): void;
  health(): HealthReport;
  /** Sends what is left for a bounded time; the rest waits on disk for the next start. */
  stop(): Promise<void>;
}

export const noRecording: Recording = {
  record: () => {},
  start: () => {},
  health: () => ({ state: 'up', detail: 'switched off' }),
  stop: async () => {},
};

export interface RecordingOptions {
  readonly gatewayId: string;
  readonly bootId: string;
  readonly home: string;
  /** Its home, or the folder of its home and of those of the gateways beside it. */
  readonly root: string;
  readonly say: (line: string) => void;
  readonly broker: Broker;
  readonly environment: Environment;
  readonly metrics: Registry;
}

/** @throws SPOOL_UNUSABLE */
export function startRecording(options: RecordingOptions): Recording {
  const { gatewayId, bootId, home, root, broker, environment, metrics, say } = options;
  const folder = join(home, 'spool', gatewayId);
  const holder = { pid: process.pid, host: hostname(), bootId };
  const take = (): void => {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      own(folder, holder);
    } catch (cause) {
      throw new CodedError('SPOOL_UNUSABLE', `the spool folder ${folder} cannot be used: ${errorText(cause)}`, {
        advice: 'Make it writable or choose another home folder.',
        cause,
      });
    }
  };
  take();
  const spool = new Spool({ folder });
  const publisher = new FramePublisher({ stream: broker.frames, spool, environment });
  const recorder = new Recorder({ gatewayId, bootId, environment, offer: (frame) => publisher.offer(frame) });
  const left = new LeftSpools({ root, folder: join(home, 'spool'), holder, stream: broker.frames, environment, say });
  const sign = environment.timers.every(recordingLimits.spoolSignMs, () => {
    try {
      if (stillOwns(folder, holder, environment.clock.nowMs())) return;
      say(`${folder} was taken by another gateway, for want of a sign of life; what stood there follows from there`);
      take();
    } catch (thrown) {
      say(`${folder}: ${errorText(thrown)}`);
    }
  });
  expose(metrics, recorder, publisher, spool, left);
  return {
    record: (input) => recorder.record(input),
    start: () => {
      publisher.start();
      left.start();
    },
    health: () => {
      const { busAway, lastError } = publisher.status();
      const { frames, bytes } = spool.status();
      if (!busAway && frames === 0) return { state: 'up' };
      return { state: 'degraded', detail: `${frames} frames (${bytes} bytes) wait on disk: ${lastError ?? 'sending'}` };
    },
    stop: async () => {
      sign.cancel();
      recorder.flush();
      await Promise.all([publisher.stop(), left.stop()]);
    },
  };
}

function expose(
  registry: Registry,
  recorder: Recorder,
  publisher: FramePublisher,
  spool: Spool,
  left: LeftSpools,
): void {
  const registers = [registry];
  const records: Counter = new Counter({
    name: 'lintel_gateway_records_total',
    help: 'Decision records by what became of them; dropped ones are told in a frame',
    labelNames: ['end'],
    registers,
    collect: () => {
      const { recorded, dropped } = recorder.status();
      records.reset();
      records.inc({ end: 'framed' }, recorded);
      records.inc({ end: 'dropped' }, dropped);
    },
  });
  const frames: Counter = new Counter({
    name: 'lintel_gateway_frames_total',
    help: 'Frames of records by what became of them',
    labelNames: ['end'],
    registers,
    collect: () => {
      const { published, duplicates, rejected } = publisher.status();
      frames.reset();
      frames.inc({ end: 'published' }, published);
      frames.inc({ end: 'duplicate' }, duplicates);
      frames.inc({ end: 'rejected' }, rejected);
      frames.inc({ end: 'refused_by_spool' }, spool.status().refused);
      frames.inc({ end: 'followed' }, left.counts.frames);
    },
  });
  const waiting: Gauge = new Gauge({
    name: 'lintel_gateway_spool_bytes',
    help: 'Bytes of frames that wait on disk for the bus',
    registers,
    collect: () => waiting.set(spool.status().bytes),
  });
}
