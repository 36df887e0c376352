import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Head } from '#libs/event-log';
import { CommitDecoder, emptyHead } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, headAfter, launchNats, sampleCommit, sampleRegistry } from '#libs/testkit';
import type { NatsLink } from './connection.ts';
import { NatsDeadLetters } from './dead-letters.ts';
import { NatsEventLog } from './event-log.ts';
import { NatsReactor } from './reactor.ts';
import { ensureStreams } from './streams.ts';

describe.each(['oldest', 'newest'] as const)('a reactor on the %s server', (version) => {
  let nats: LaunchedNats;
  let gateway: NatsLink;
  let log: NatsEventLog;

  beforeAll(async () => {
    nats = await launchNats({ version });
    gateway = await nats.connect('gateway');
    await ensureStreams(gateway);
    log = new NatsEventLog(gateway);
  });

  afterAll(() => nats.stop());

  const append = async (id: string, commitId: string, head: Head = emptyHead): Promise<Head> => {
    const commit = sampleCommit({ id, commitId, head });
    return headAfter(commit, (await log.append(commit, head)).seq);
  };

  const reactor = (consumer: string, handler: (id: string) => Promise<void>): NatsReactor =>
    new NatsReactor({
      link: gateway,
      log,
      consumer,
      subject: 'lintel.ev.route.>',
      decoder: new CommitDecoder(sampleRegistry),
      handler: ({ stored }) => handler(stored.commitId),
      deliveriesMax: 2,
    });

  test('L9 each accepted commit has its effect; a forked one has none; a restart goes on where it was', async () => {
    const seen: string[] = [];
    const first = reactor('first', async (id) => void seen.push(id));
    await first.start();
    const head = await append('a', 'a1');
    const forked = sampleCommit({ id: 'a', commitId: 'forged', head: { version: 7, hash: 'f'.repeat(64) } });
    await log.append(forked, head);
    await eventually(() => expect(first.counts).toMatchObject({ done: 1, skipped: 1 }));
    await first.stop();
    await append('b', 'b1');
    const second = reactor('first', async (id) => void seen.push(id));
    await second.start();
    await eventually(() => expect(seen).toEqual(['a1', 'b1']));
    await second.stop();
  });

  test('L9 what fails comes again, then lies with the dead letters, is shown, driven again and gone', async () => {
    let healthy = false;
    const seen: string[] = [];
    const failing = reactor('failing', async (id) => {
      if (id === 'poison' && !healthy) throw new CodedError('ENGINE_AWAY', 'no engine');
      seen.push(id);
    });
    await failing.start();
    await append('p', 'poison');
    await append('q', 'fine');
    const letters = new NatsDeadLetters(await nats.connect('diagnostics'));
    await eventually(async () => expect(await letters.list({ consumer: 'failing' })).toHaveLength(1), 10_000);
    const [parked] = await letters.list();
    expect(parked?.letter).toMatchObject({ consumer: 'failing', errorCode: 'ENGINE_AWAY', deliveries: 2 });
    expect(seen).toContain('fine');
    const id = parked?.id as number;
    await expect(letters.redrive(id)).rejects.toMatchObject({ code: 'ENGINE_AWAY' });
    healthy = true;
    await letters.redrive(id);
    expect(seen.filter((commitId) => commitId === 'poison')).toHaveLength(1);
    await expect(letters.show(id)).rejects.toMatchObject({ code: 'DEAD_LETTER_UNKNOWN' });
    await failing.stop();
  });

  test('a letter of a reactor that is not running says so', async () => {
    const letters = new NatsDeadLetters(await nats.connect('diagnostics'));
    const gone = reactor('gone', async () => {
      throw new Error('boom');
    });
    await gone.start();
    await append('z', 'z1');
    await eventually(async () => expect((await letters.list({ consumer: 'gone' })).length).toBeGreaterThan(0), 10_000);
    await gone.stop();
    const [letter] = await letters.list({ consumer: 'gone' });
    await expect(letters.redrive(letter?.id as number)).rejects.toMatchObject({ code: 'DEAD_LETTER_NO_REACTOR' });
  });
});
