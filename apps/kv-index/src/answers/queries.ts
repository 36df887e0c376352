import type { Stop } from '#libs/event-log';
import { subjects } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import type { Core } from '../core.ts';
import { showReplicas, topBlocks, whyBlock } from './kv.ts';

/** Questions by name: over HTTP `GET /api/v1/kv/<name>`, on the bus `lintel.q.kv.<Name>` with the parameters as JSON. */
export const questions = {
  replicas: (core: Core, { replica }: Asked): object => showReplicas(core, replica),
  top: (core: Core, { limit = 50 }: Asked): object => topBlocks(core, limit),
  block: (core: Core, { hash = '' }: Asked): object => whyBlock(core, hash),
} as const;

export interface Asked {
  readonly replica?: string;
  readonly limit?: number;
  readonly hash?: string;
}

const names = { replicas: 'Replicas', top: 'Top', block: 'Block' } as const;

/** Answers on the bus; members share the questions, and any of them has folded the whole stream. */
export async function answerOnBus(core: Core): Promise<Stop> {
  const stops: Stop[] = [];
  for (const name of Object.keys(names) as (keyof typeof names)[]) {
    stops.push(
      await core.broker.responder.respond(subjects.query('kv', names[name]), 'kv-index', async (bytes) =>
        Buffer.from(JSON.stringify(questions[name](core, parsed(bytes)))),
      ),
    );
  }
  return async () => {
    for (const stop of stops) await stop();
  };
}

function parsed(bytes: Uint8Array): Asked {
  try {
    const { replica, limit, hash } = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
    return {
      ...(typeof replica === 'string' ? { replica } : {}),
      ...(typeof limit === 'number' && limit > 0 ? { limit } : {}),
      ...(typeof hash === 'string' ? { hash } : {}),
    };
  } catch {
    throw new CodedError('BAD_REQUEST', 'the question is no JSON');
  }
}
