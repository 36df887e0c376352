import 'reflect-metadata';
import type { INestMicroservice } from '@nestjs/common';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { route } from '#libs/contracts';
import { EventRegistry } from '#libs/contracts';
import {
  CommitDecoder,
  emptyHead,
  MemoryBus,
  MemoryDeadLetters,
  MemoryEventLog,
  MemoryReactor,
  prepareCommit,
} from '#libs/event-log';
import { CodedError, systemEnvironment } from '#libs/kernel';
import { CodedRpcFilter } from './coded-rpc.filter.ts';
import { EventDelivery, LintelTransport, MessageContext } from './lintel-transport.ts';
import { TypedClient } from './typed-client.ts';

const drained: string[] = [];
let failures = 0;

@Controller()
class ReplicaController {
  @MessagePattern('route.DrainReplica')
  async drain(@Payload() command: route.DrainReplica, @Ctx() context: MessageContext): Promise<object> {
    if (command.replicaId === 'unknown') {
      throw new CodedError('REPLICA_UNKNOWN', 'no replica "unknown"', { advice: 'See lintel get replicas.' });
    }
    if (command.replicaId === 'slow') await new Promise((done) => setTimeout(done, 200));
    return { seq: 7, version: 1, commitId: `${command.replicaId}:${context.headers['x-test'] ?? ''}`, changed: true };
  }

  @MessagePattern('route.ListReplicas')
  list(): object {
    return { atSeq: 3, replicas: [{ draining: true, registration: { replicaId: 'r1' } }] };
  }

  @EventPattern('route.ReplicaDrained')
  async onDrained(@Payload() event: route.ReplicaDrained, @Ctx() context: unknown): Promise<void> {
    const delivery = context as EventDelivery;
    if (event.replicaId === 'failing' && ++failures < 3) throw new CodedError('ENGINE_AWAY', 'no engine');
    drained.push(`${event.replicaId}@${delivery.commit.stored.seq}.${delivery.index}`);
  }
}

@Module({ controllers: [ReplicaController] })
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is its decorator
class ReplicaModule {}

@Controller()
class MisspeltController {
  @MessagePattern('route.DrainReplicas')
  drain(): void {}
}

@Module({ controllers: [MisspeltController] })
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module is its decorator
class MisspeltModule {}

describe('commands, queries and events by Nest', () => {
  let app: INestMicroservice | undefined;
  const bus = new MemoryBus(systemEnvironment.timers);
  const log = new MemoryEventLog({ clock: systemEnvironment.clock });
  const client = new TypedClient(bus);

  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  const transport = (): LintelTransport =>
    new LintelTransport({
      responder: bus,
      queue: 'gateway',
      makeReactor: ({ consumer, subject, handler }) =>
        new MemoryReactor({
          consumer,
          log,
          subjects: [subject],
          decoder: new CommitDecoder(new EventRegistry()),
          environment: systemEnvironment,
          deadLetters: new MemoryDeadLetters(),
          handler,
        }),
    });

  const serve = async (): Promise<void> => {
    app = await NestFactory.createMicroservice(ReplicaModule, { strategy: transport(), logger: false });
    app.useGlobalFilters(new CodedRpcFilter());
    await app.listen();
  };

  test('a command and a query are typed both ways, with headers', async () => {
    await serve();
    const receipt = await client.send('route.DrainReplica', { replicaId: 'r1' }, { headers: { 'x-test': 'h' } });
    expect(receipt).toMatchObject({ seq: 7, version: 1, commitId: 'r1:h', changed: true });
    const list = await client.send('route.ListReplicas', {});
    expect(list.replicas[0]?.registration?.replicaId).toBe('r1');
  });

  test('a coded error keeps code and advice; the deadline holds', async () => {
    await serve();
    await expect(client.send('route.DrainReplica', { replicaId: 'unknown' })).rejects.toMatchObject({
      code: 'REPLICA_UNKNOWN',
      advice: 'See lintel get replicas.',
    });
    await expect(client.send('route.DrainReplica', { replicaId: 'slow' }, { deadlineMs: 20 })).rejects.toMatchObject({
      code: 'BUS_DEADLINE',
    });
  });

  test('what does not fit the contract never reaches the handler', async () => {
    await serve();
    for (const text of ['no json', '[]', '{"replicaId":3}', '{"replica":"typo"}']) {
      await expect(
        bus.request('lintel.cmd.route.DrainReplica', Buffer.from(text), { deadlineMs: 500 }),
      ).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    }
  });

  test('a pattern that the contracts lack fails at start, with a suggestion', async () => {
    const outcome = Promise.withResolvers<unknown>();
    const misspelt = await NestFactory.createMicroservice(MisspeltModule, { strategy: transport(), logger: false });
    misspelt.listen().then(outcome.resolve, outcome.resolve);
    expect(await outcome.promise).toMatchObject({
      code: 'PATTERN_UNKNOWN',
      advice: 'Did you mean "route.DrainReplica"?',
    });
    await misspelt.close();
  });

  test('an event handler gets the events of accepted commits', async () => {
    await serve();
    const commit = prepareCommit({
      registry: new EventRegistry(),
      subject: { context: 'route', aggregate: 'replica', id: 'r9' },
      commitId: 'c1',
      head: emptyHead,
      events: [
        { type: 'ReplicaResumed', data: { replicaId: 'r9' } },
        { type: 'ReplicaDrained', data: { replicaId: 'r9' } },
      ],
      context: { atMs: 1, actor: 'test:nest' },
    });
    const { seq } = await log.append(commit, emptyHead);
    for (let n = 0; n < 100 && drained.length === 0; n++) await new Promise((done) => setTimeout(done, 5));
    expect(drained).toEqual([`r9@${seq}.1`]);
    const failing = prepareCommit({
      registry: new EventRegistry(),
      subject: { context: 'route', aggregate: 'replica', id: 'failing' },
      commitId: 'c2',
      head: emptyHead,
      events: [{ type: 'ReplicaDrained', data: { replicaId: 'failing' } }],
      context: { atMs: 1, actor: 'test:nest' },
    });
    await log.append(failing, emptyHead);
    for (let n = 0; n < 400 && drained.length === 1; n++) await new Promise((done) => setTimeout(done, 5));
    expect({ failures, last: drained.at(-1) }).toEqual({ failures: 3, last: `failing@${seq + 1}.0` });
  });
});
