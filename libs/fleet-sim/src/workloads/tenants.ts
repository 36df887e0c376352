import type { SeededRng } from '#libs/kernel';
import { between, exponential, logNormal, Zipf } from '../draws.ts';
import type { Segment } from '../request.ts';
import type { SessionDraw, SessionKind, Turn } from './sessions.ts';
import { SessionSource } from './sessions.ts';

type Take = (tokens: number) => Segment;

const documents = 200;
const documentRank = new Zipf(documents);

/** A segment made when it is first asked for. */
function shared(tokens: number): (take: Take) => Segment {
  let made: Segment | undefined;
  return (take) => (made ??= take(tokens));
}

/** Sessions of the burst tenant come in rows of about so many, one right after the other. */
const burstSessions = 12;

/**
 * Four tenants on one fleet: a chat (short turns), questions about popular documents (long shared prefixes, Zipf), a batch job (no
 * sharing, long answers), and one that comes in bursts with one hot prompt. All numbers are our own choice.
 */
function tenantKind(): SessionKind {
  const chatSystem = shared(400);
  const ragSystem = shared(600);
  const hotPrompt = shared(6_000);
  const texts = Array.from({ length: documents }, () => shared(3_000));
  let burstLeft = 0;

  const single = (tenant: string, added: readonly Segment[], outputTokens: number): SessionDraw => ({
    tenant,
    turns: [{ added, outputTokens, thinkMs: 0 }],
  });

  function chat(rng: SeededRng, take: Take): SessionDraw {
    const turns = Array.from({ length: between(rng, 2, 8) }, (_, turn): Turn => {
      const said = take(logNormal(rng, 120, 2.5, 5, 2_000));
      return {
        added: turn === 0 ? [chatSystem(take), said] : [said],
        outputTokens: logNormal(rng, 220, 1.8, 10, 1_200),
        thinkMs: exponential(rng, 2_000),
      };
    });
    return { tenant: 'chat', turns };
  }

  return {
    name: 'tenants',
    slo: { ttftMs: 500, tpotMs: 30 },
    gap: (rng) => (burstLeft > 0 ? 0.02 : exponential(rng, 1)),
    session(rng, take) {
      if (burstLeft === 0 && rng.chance(0.2 / burstSessions)) burstLeft = burstSessions;
      if (burstLeft > 0) {
        burstLeft--;
        const question = take(logNormal(rng, 80, 1.6, 5, 500));
        return single('burst', [hotPrompt(take), question], logNormal(rng, 60, 1.6, 4, 300));
      }
      const kind = rng.next();
      if (kind < 0.36) return chat(rng, take);
      if (kind < 0.8) {
        const text = (texts[documentRank.draw(rng)] as (take: Take) => Segment)(take);
        const question = take(logNormal(rng, 60, 1.6, 5, 400));
        return single('documents', [ragSystem(take), text, question], logNormal(rng, 130, 1.7, 5, 800));
      }
      return single('batch', [take(logNormal(rng, 1_500, 1.8, 100, 8_000))], logNormal(rng, 500, 1.5, 50, 2_000));
    },
  };
}

export const tenants = new SessionSource(tenantKind);
