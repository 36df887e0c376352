import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { MemoryFrameStream } from '#libs/event-log';
import { systemClock, systemEnvironment } from '#libs/kernel';
import { eventually } from '#libs/testkit';
import { LeftSpools } from './left-spools.ts';
import { recordingLimits } from './limits.ts';
import { own, stillOwns } from './spool-owner.ts';
import { Spool } from './spool.ts';

let root: string;
let stream: MemoryFrameStream;
const children: ChildProcess[] = [];
const followers: LeftSpools[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lintel-left-'));
  stream = new MemoryFrameStream({ clock: systemClock });
});
afterEach(async () => {
  for (const follower of followers.splice(0)) await follower.stop();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await stream.close();
  rmSync(root, { recursive: true, force: true });
});

/** A process that does nothing but live. */
async function living(): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  return child;
}

const me = (bootId: string) => ({ pid: process.pid, host: hostname(), bootId });

/** Gateway `name` of `home` wrote so many frames to disk, and sent the first `sent` of them. */
async function left(home: string, name: string, frames: number, sent = 0): Promise<string> {
  const folder = join(home, 'spool', name);
  const spool = new Spool({ folder, segmentBytesMax: 100 });
  for (let number = 1; number <= frames; number++) {
    const frame = {
      subject: `lintel.rq.${name}`,
      msgId: `${name}-boot-${number}`,
      bytes: Buffer.alloc(10),
      records: 1,
    };
    expect(spool.append(frame)).toBe(true);
    if (number <= sent) await stream.publish(frame.subject, frame.msgId, frame.bytes);
  }
  spool.close();
  return folder;
}

function follow(home: string, bootId: string): LeftSpools {
  mkdirSync(join(home, 'spool'), { recursive: true });
  const folder = join(home, 'spool');
  const environment = systemEnvironment;
  const follower = new LeftSpools({ root, folder, holder: me(bootId), stream, environment, say: () => {} });
  followers.push(follower);
  follower.start();
  return follower;
}

const sent = async (): Promise<string[]> => {
  const ids: string[] = [];
  if ((await stream.lastSeq()) === 0) return ids;
  for await (const { msgId } of stream.read({ fromSeq: 1 })) ids.push(msgId);
  return ids;
};
const idsOf = (name: string, frames: number): string[] =>
  Array.from({ length: frames }, (_, index) => `${name}-boot-${index + 1}`);

describe('L8 spools of gateways that never come back', () => {
  test('of a killed process follow once, though several find them and some frames were sent; nothing of it stays', async () => {
    const child = await living();
    const folder = await left(root, 'gone', 7, 3);
    own(folder, { pid: child.pid!, host: hostname(), bootId: 'theirs' });
    const others = [follow(root, 'b1'), follow(join(root, 'w2'), 'b2')];
    await systemEnvironment.timers.sleep(50);
    // It lives.
    expect([await sent(), existsSync(folder)]).toEqual([idsOf('gone', 3), true]);
    for (const other of others.splice(0)) await other.stop();
    child.kill('SIGKILL');
    await once(child, 'exit');
    others.push(follow(root, 'b3'), follow(join(root, 'w2'), 'b4'));
    await eventually(async () => expect(await sent()).toEqual(idsOf('gone', 7)));
    await eventually(() => expect(others.reduce((sum, { counts }) => sum + counts.spools, 0)).toBe(1), 10_000);
    expect(others.reduce((sum, { counts }) => sum + counts.frames, 0)).toBe(7);
    expect(readdirSync(join(root, 'spool'))).toEqual([]);
    expect(readdirSync(join(root, 'w2', 'spool'))).toEqual([]);
  });

  test('of workers, one folder deeper, and of those that died while they followed', async () => {
    const child = await living();
    child.kill('SIGKILL');
    await once(child, 'exit');
    own(await left(join(root, 'gw-w7'), 'gw-w7', 2), { pid: child.pid!, host: hostname(), bootId: 'theirs' });
    own(await left(join(root, 'gw-w8'), 'left-x-1', 3), { pid: child.pid!, host: hostname(), bootId: 'theirs' });
    const follower = follow(join(root, 'gw-w1'), 'b1');
    await eventually(() => expect(follower.counts).toEqual({ spools: 2, frames: 5 }), 10_000);
    expect((await sent()).toSorted()).toEqual([...idsOf('gw-w7', 2), ...idsOf('left-x-1', 3)]);
  });

  test('of another machine, or from before owners were told, only after a long silence', async () => {
    const elsewhere = await left(root, 'elsewhere', 1);
    own(elsewhere, { pid: 1, host: 'another', bootId: 'theirs' });
    const unowned = await left(root, 'unowned', 1);
    const first = follow(root, 'b1');
    await systemEnvironment.timers.sleep(50);
    expect([await sent(), existsSync(elsewhere), existsSync(unowned)]).toEqual([[], true, true]);
    await first.stop();
    const longAgo = systemClock.nowMs() / 1000 - recordingLimits.spoolSilentMsMax / 1000 - 60;
    utimesSync(join(elsewhere, 'owner'), longAgo, longAgo);
    for (const name of readdirSync(unowned)) utimesSync(join(unowned, name), longAgo, longAgo);
    const second = follow(root, 'b2');
    await eventually(() => expect(second.counts).toEqual({ spools: 2, frames: 2 }), 10_000);
  });

  test('an owner gives signs of life, and notices when its spool was taken', async () => {
    const folder = await left(root, 'mine', 1);
    own(folder, me('b1'));
    expect(stillOwns(folder, me('b1'), systemClock.nowMs())).toBe(true);
    own(folder, me('b2'));
    expect(stillOwns(folder, me('b1'), systemClock.nowMs())).toBe(false);
    rmSync(folder, { recursive: true });
    expect(stillOwns(folder, me('b1'), systemClock.nowMs())).toBe(false);
  });
});
