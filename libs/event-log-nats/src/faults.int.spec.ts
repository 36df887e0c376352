import { connect as connectTo, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { headers } from '@nats-io/transport-node';
import { afterEach, describe, expect, test } from '@jest/globals';
import { EventRegistry, eventTypes } from '#libs/contracts';
import type { Head, StoredCommit } from '#libs/event-log';
import { Acceptor, CommandHandler, emptyHead, prepareCommit } from '#libs/event-log';
import { systemEnvironment } from '#libs/kernel';
import type { LaunchedNats } from '#libs/testkit';
import { eventually, headAfter, launchNats, sampleCommit } from '#libs/testkit';
import { NatsEventLog } from './event-log.ts';
import { NatsReaderRegistry } from './readers.ts';
import { ensureStreams } from './streams.ts';

interface Proxy {
  readonly url: string;
  /** What the server says from now on does not arrive. */
  deaf: boolean;
  cut(): void;
  close(): Promise<void>;
}

async function proxyTo(port: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connectTo({ host: '127.0.0.1', port });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => void (proxy.deaf || client.write(bytes)));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const proxy: Proxy = {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    deaf: false,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    close: async () => {
      proxy.cut();
      await new Promise((done) => server.close(done));
    },
  };
  return proxy;
}

describe.each(['oldest', 'newest'] as const)('faults, on the %s server', (version) => {
  const cleanups: (() => Promise<unknown>)[] = [];

  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });

  const launch = async (): Promise<LaunchedNats> => {
    const nats = await launchNats({ version });
    cleanups.push(() => nats.stop());
    return nats;
  };

  const all = async (log: NatsEventLog): Promise<StoredCommit[]> => {
    const commits: StoredCommit[] = [];
    for await (const commit of log.read({ fromSeq: 1 })) commits.push(commit);
    return commits;
  };

  test('L2 kill -9 in the middle of appends loses no acknowledged commit and stores none twice', async () => {
    const nats = await launch();
    const link = await nats.connect('gateway');
    await ensureStreams(link);
    const log = new NatsEventLog(link, { ackTimeoutMs: 500 });
    const followed: number[] = [];
    const following = await log.follow({ fromSeq: 1 }, ({ seq }) => void followed.push(seq));
    const acknowledged = new Map<string, number>();
    const stop = new AbortController();
    const writer = async (id: string): Promise<void> => {
      let head: Head = emptyHead;
      for (let n = 1; !stop.signal.aborted;) {
        const commit = sampleCommit({ id, commitId: `${id}:${n}`, head });
        try {
          const { seq } = await log.append(commit, head);
          acknowledged.set(commit.commitId, seq);
          head = headAfter(commit, seq);
          n++;
        } catch (thrown) {
          // The same commit again: it takes effect once.
          expect(thrown).toMatchObject({ code: 'LOG_UNAVAILABLE' });
        }
      }
    };
    const writers = Array.from({ length: 8 }, (_, n) => writer(`w${n}`));
    for (let kills = 0; kills < 3; kills++) {
      await new Promise((done) => setTimeout(done, 150));
      nats.kill('SIGKILL');
      await nats.restart();
      const before = acknowledged.size;
      await eventually(() => expect(acknowledged.size).toBeGreaterThan(before), 15_000);
    }
    stop.abort();
    await Promise.all(writers);
    const stored = await all(log);
    const ids = stored.map(({ commitId }) => commitId);
    expect(new Set(ids).size).toBe(ids.length);
    const bySeq = new Map(stored.map(({ seq, commitId }) => [commitId, seq]));
    for (const [commitId, seq] of acknowledged) expect([commitId, bySeq.get(commitId)]).toEqual([commitId, seq]);
    const acceptor = new Acceptor();
    for (const commit of stored) acceptor.accept(commit);
    expect(acceptor.counts.forked).toBe(0);
    // The follower came through the restarts with each commit once and in order.
    await eventually(() => expect(followed).toEqual(stored.map(({ seq }) => seq)), 15_000);
    await following.stop();
  });

  test('L1 a lost acknowledgement is settled by the own commit id', async () => {
    const nats = await launch();
    await ensureStreams(await nats.connect());
    const proxy = await proxyTo(nats.port);
    cleanups.push(() => proxy.close());
    const log = new NatsEventLog(await nats.connect('gateway', proxy.url), { ackTimeoutMs: 300 });
    const head = headAfter(
      sampleCommit({ id: 'r1', commitId: 'c1' }),
      (await log.append(sampleCommit({ id: 'r1', commitId: 'c1' }), emptyHead)).seq,
    );
    proxy.deaf = true;
    const appending = log.append(sampleCommit({ id: 'r1', commitId: 'c2', head }), head);
    await new Promise((done) => setTimeout(done, 200));
    proxy.deaf = false;
    proxy.cut();
    expect(await appending).toEqual({ seq: 2, recovered: true });
    expect(await log.lastSeq()).toBe(2);
  });

  test('L3 a commit forced past the expectation is forked: every reader ignores it, and writing goes on', async () => {
    const nats = await launch();
    const link = await nats.connect();
    await ensureStreams(link);
    const log = new NatsEventLog(link);
    const first = sampleCommit({ id: 'r1', commitId: 'c1' });
    await log.append(first, emptyHead);
    const forged = sampleCommit({ id: 'r1', commitId: 'forged' });
    const head = headers();
    head.set('Nats-Msg-Id', 'forged');
    head.set('Lintel-Version', String(forged.version));
    head.set('Lintel-Prev-Hash', forged.prevHash);
    head.set('Lintel-Hash', forged.hash);
    await link.js.publish(forged.subject, forged.payload, { headers: head });
    await link.js.publish(forged.subject, 'not a commit at all');
    const handler = new CommandHandler({
      log,
      registry: new EventRegistry(),
      environment: systemEnvironment,
      actor: 'test:fork',
    });
    const drain = {
      context: 'route',
      aggregate: 'replica',
      initial: 0,
      decide: () => [{ type: 'ReplicaDrained', data: { replicaId: 'r1', reason: 'after the fork' } }],
      evolve: (count: number) => count + 1,
    };
    const handled = await handler.handle(drain as never, 'r1', {} as never, { commandId: 'cmd-1' });
    expect(handled).toMatchObject({ version: 2, seq: 4 });
    const acceptor = new Acceptor();
    const verdicts = (await all(log)).map((commit) => acceptor.accept(commit));
    expect(verdicts).toEqual(['accepted', 'forked', 'forked', 'accepted']);
  });

  test('L21 a full log refuses loudly and keeps what it has', async () => {
    const nats = await launch();
    const link = await nats.connect();
    await ensureStreams(link, { bounds: { eventsBytesMax: 20_000 } });
    const log = new NatsEventLog(link);
    let stored = 0;
    const fill = async (): Promise<void> => {
      for (; stored < 1_000; stored++) {
        await log.append(sampleCommit({ id: `r${stored}`, commitId: `c${stored}` }), emptyHead);
      }
    };
    await expect(fill()).rejects.toMatchObject({ code: 'LOG_FULL', advice: expect.stringContaining('max_bytes') });
    expect(stored).toBeGreaterThan(5);
    expect(await all(log)).toHaveLength(stored);
    await ensureStreams(link, { bounds: { eventsBytesMax: 200_000 }, update: true });
    await log.append(sampleCommit({ id: 'more', commitId: 'more' }), emptyHead);
  });

  test("L20 services write their own context's subjects only, and none can delete, purge or change a stream", async () => {
    const nats = await launch();
    await ensureStreams(await nats.connect());
    const gateway = await nats.connect('gateway');
    const diagnostics = await nats.connect('diagnostics');
    await new NatsEventLog(gateway).append(sampleCommit({ id: 'r1', commitId: 'c1' }), emptyHead);
    await expect(
      new NatsEventLog(diagnostics).append(sampleCommit({ id: 'r2', commitId: 'c2' }), emptyHead),
    ).rejects.toMatchObject({ code: 'LOG_FORBIDDEN', message: expect.stringContaining('lintel.ev.route.replica.r2') });
    for (const user of ['gateway', 'diagnostics', 'cli', 'kv', 'lora', 'scale', 'plan', 'fleet'] as const) {
      const link = await nats.connect(user);
      const { streams } = link.jsm;
      await expect(streams.delete('LINTEL_EVENTS')).rejects.toThrow(/permissions violation/i);
      await expect(streams.purge('LINTEL_EVENTS')).rejects.toThrow(/permissions violation/i);
      await expect(streams.update('LINTEL_EVENTS', { deny_delete: false } as never)).rejects.toThrow(
        /permissions violation/i,
      );
      await expect(streams.deleteMessage('LINTEL_EVENTS', 1)).rejects.toThrow(/permissions violation/i);
      if (user !== 'gateway') {
        await expect(link.nc.request('lintel.ev.tenancy.tenant.t1', 'x', { timeout: 500 })).rejects.toThrow(
          /permissions violation/i,
        );
      }
      await link.close();
    }
    // The operator may delete a stream, yet no single commit of it.
    const operator = await nats.connect('operator');
    await expect(operator.jsm.streams.deleteMessage('LINTEL_EVENTS', 1)).rejects.toThrow();
    await expect(operator.jsm.streams.purge('LINTEL_EVENTS')).rejects.toThrow();
    expect(await new NatsEventLog(gateway).lastSeq()).toBe(1);
  });

  test('L11 a new event type waits until the old reader is gone', async () => {
    const nats = await launch();
    const link = await nats.connect('gateway');
    await ensureStreams(link);
    const readers = new NatsReaderRegistry(link);
    const newer = new EventRegistry(
      eventTypes.map((type) => ({ ...type, sinceLevel: type.type === 'ReplicaDrained' ? 2 : 1 })),
    );
    const handler = new CommandHandler({
      log: new NatsEventLog(link),
      registry: newer,
      environment: systemEnvironment,
      actor: 'test:new',
      readers,
    });
    const drain = {
      context: 'route',
      aggregate: 'replica',
      initial: 0,
      decide: () => [{ type: 'ReplicaDrained', data: { replicaId: 'r1', reason: 'new' } }],
      evolve: (count: number) => count + 1,
    };
    await readers.announce('gateway:new', { route: 2 });
    await readers.announce('diagnostics:old', { route: 1 });
    await expect(handler.handle(drain as never, 'r1', {} as never, { commandId: 'c' })).rejects.toMatchObject({
      code: 'SCHEMA_NOT_READY',
      message: expect.stringContaining('diagnostics:old'),
    });
    await readers.withdraw('diagnostics:old');
    expect(await handler.handle(drain as never, 'r1', {} as never, { commandId: 'c' })).toMatchObject({
      changed: true,
    });
  });

  test('a stream that someone made by hand is refused with what differs', async () => {
    const nats = await launch();
    const link = await nats.connect();
    await link.jsm.streams.add({ name: 'LINTEL_EVENTS', subjects: ['lintel.ev.>'] });
    await expect(ensureStreams(link)).rejects.toMatchObject({
      code: 'STREAM_DIFFERS',
      message: expect.stringMatching(/LINTEL_EVENTS has (discard|deny_delete|deny_purge)/),
    });
  });

  test('while the server is away everything says so at once', async () => {
    const nats = await launch();
    const link = await nats.connect('gateway');
    await ensureStreams(link);
    const log = new NatsEventLog(link);
    nats.kill();
    await eventually(() => expect(link.connected).toBe(false));
    await expect(log.lastSeq()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
    await expect(log.append(sampleCommit({ id: 'r1', commitId: 'c1' }), emptyHead)).rejects.toMatchObject({
      code: 'LOG_UNAVAILABLE',
    });
    await nats.restart();
    await eventually(() => expect(link.connected).toBe(true));
    expect(await log.append(sampleCommit({ id: 'r1', commitId: 'c1' }), emptyHead)).toEqual({
      seq: 1,
      recovered: false,
    });
  });

  test('a big commit goes through up to the bound of the log', async () => {
    const nats = await launch();
    const link = await nats.connect('gateway');
    await ensureStreams(link);
    const commit = prepareCommit({
      registry: new EventRegistry(),
      subject: { context: 'route', aggregate: 'replica', id: 'big' },
      commitId: 'big',
      head: emptyHead,
      events: [{ type: 'ReplicaDrained', data: { replicaId: 'big', reason: 'x'.repeat(500_000) } }],
      context: { atMs: 1, actor: 'test:big' },
    });
    const log = new NatsEventLog(link);
    await log.append(commit, emptyHead);
    const [read] = await log.readSubject(commit.subject, 0);
    expect(Buffer.compare(Buffer.from(read?.payload ?? []), Buffer.from(commit.payload))).toBe(0);
  });
});
