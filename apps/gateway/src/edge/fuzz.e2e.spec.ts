import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { connect, constants } from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { SeededRng, systemClock, systemEnvironment } from '#libs/kernel';
import { eventually } from '#libs/testkit';
import { selfMadeCertificate } from '../certificate.fixture.ts';
import { afterwards, chat, closeAll, engine, gateway, sse, token } from '../serve/serve.fixture.ts';
import { startEdge } from './index.ts';

afterEach(closeAll);

/** LINTEL_FUZZ_S=600 for longer, LINTEL_FUZZ_SEED=7 for another run, or the same again. */
const seconds = Number(process.env['LINTEL_FUZZ_S'] ?? 5);
const seed = Number(process.env['LINTEL_FUZZ_SEED'] ?? 1);
const clients = 6;
const answerMsMax = 3_000;

const rng = new SeededRng(seed);
const below = (n: number): number => rng.uint32() % n;
const one = <T>(of: readonly T[]): T => of[below(of.length)] as T;
const chance = (percent: number): boolean => below(100) < percent;
const markers = new Set<string>();
function marker(): string {
  const made = `MK${String(below(1e9)).padStart(12, '0')}`;
  markers.add(made);
  return made;
}
const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const encoders: Record<string, (body: Buffer) => Buffer> = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
};

function mutated(bytes: Buffer): Buffer {
  let out = Buffer.from(bytes);
  for (let rounds = below(3); rounds > 0 && out.length > 0; rounds--) {
    const at = below(out.length);
    switch (below(4)) {
      case 0:
        out[at] = below(256);
        break;
      case 1:
        out = out.subarray(0, at);
        break;
      case 2:
        out = Buffer.concat([out.subarray(0, at), Buffer.from([below(256), below(256)]), out.subarray(at)]);
        break;
      default:
        out = Buffer.concat([out.subarray(0, at), out.subarray(Math.min(out.length, at + below(40)))]);
    }
  }
  return out;
}

interface Asked {
  readonly marker: string;
  readonly body: Buffer;
  readonly headers: Record<string, string>;
}

/** A request with a body that is encoded, or says so, or neither. */
function asked(): Asked {
  const own = marker();
  const plain = Buffer.from(chat({ stream: chance(30), pad: own.repeat(1 + below(300)) }));
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  let body: Buffer = plain;
  if (chance(70)) {
    const encoding = one(Object.keys(encoders));
    body = encoders[encoding]!(chance(5) ? Buffer.alloc(3_000_000, own) : plain);
    headers['content-encoding'] = chance(90) ? encoding : one(['gzip, br', 'identity', 'nope', '']);
  }
  if (chance(40)) body = mutated(body);
  if (chance(20)) headers['x-forwarded-for'] = one(['1.2.3.4', '::1, nonsense', ','.repeat(200), 'a'.repeat(500)]);
  if (chance(20)) headers['origin'] = one(['https://a.example.com', 'null', 'https://evil.net']);
  if (chance(10)) headers['x-request-timeout-ms'] = one(['1', '40', 'x']);
  return { marker: own, body, headers };
}

test(
  `over TLS, HTTP/2 and in any encoding, for ${seconds} s: nothing falls, nothing is left, nothing goes to another client (seed ${seed})`,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lintel-fuzz-'));
    afterwards(() => rm(folder, { recursive: true, force: true }));
    const made = selfMadeCertificate(new Date(systemClock.nowMs()));
    const [cert, key] = [join(folder, 'c'), join(folder, 'k')];
    await writeFile(cert, made.cert);
    await writeFile(key, made.key);
    const edge = await startEdge({
      config: {
        tls: { cert, key, minVersion: '1.2' },
        cors: { origins: ['https://*.example.com'], exposeHeaders: [], credentials: false, maxAgeS: 1 },
        trustedProxies: { networks: ['127.0.0.1'], header: 'x-forwarded-for', proxyProtocol: false },
      },
      environment: systemEnvironment,
      say: () => {},
      idleMs: 2_000,
      requestMs: 10_000,
    });
    const origin = await engine((sent, response) => {
      const markers = [...new Set(sent.match(/MK\d{12}/g) ?? [])].join(' ');
      if (below(50) === 0) response.destroy();
      else if (sent.includes('"stream":true')) {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(sse(token(markers)));
        if (below(20) === 0) response.destroy();
        else response.end(sse('[DONE]'));
      } else response.end(markers);
    });
    const lintel = await gateway([origin, origin], {
      edge,
      limits: { firstByteTimeoutMs: 500, answerTimeoutMs: 500, idleTimeoutMs: 500, clientStallTimeoutMs: 500 },
    });
    const endMs = systemClock.monotonicMs() + seconds * 1000;
    let answered = 0;
    let sessions = 0;
    const own = (text: string, mine: string): void => {
      answered++;
      for (const found of text.match(/MK\d{12}/g) ?? []) {
        // What a mutation made of a marker is nobody's.
        if (found !== mine && markers.has(found))
          throw new Error(`${mine} got what is another's: ${text.slice(0, 500)}`);
      }
    };

    const overStream = (session: ClientHttp2Session): Promise<void> =>
      new Promise((resolve) => {
        const { marker: mine, body, headers } = asked();
        const method = chance(95) ? 'POST' : one(['OPTIONS', 'GET', 'PUT']);
        const path = one(['/v1/chat/completions', '/v1/chat/completions?x=1', '/v1/completions', '/v1/%00', '//']);
        const stream = session.request({ ':method': method, ':path': path, ...headers });
        let text = '';
        stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
        stream.on('error', () => {});
        stream.on('close', () => {
          if (text !== '') own(text, mine);
          resolve();
        });
        stream.setTimeout(answerMsMax, () => stream.close(constants.NGHTTP2_CANCEL));
        const cut = below(body.length + 1);
        stream.write(body.subarray(0, cut));
        if (chance(90)) stream.end(body.subarray(cut));
        if (chance(15)) setImmediate(() => stream.close(one([constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR])));
      });

    const overHttp2 = async (): Promise<void> => {
      sessions++;
      const session = connect(`https://localhost:${lintel.port}`, { ca: made.cert });
      session.on('error', () => {});
      for (let rounds = 1 + below(5); rounds > 0 && !session.destroyed && !session.closed; rounds--) {
        const all = Promise.all(Array.from({ length: 1 + below(8) }, () => overStream(session).catch(() => {})));
        // Node's client does not notice that its connection is gone while much of what it resets waits to be sent.
        const late = Promise.withResolvers<void>();
        const timer = systemEnvironment.timers.after(2 * answerMsMax, late.resolve);
        await Promise.race([all, late.promise]);
        timer.cancel();
      }
      session.destroy();
    };

    /** Bytes on a decrypted connection: HTTP/1, or frames of HTTP/2 that are none. */
    const overTls = (bytes: Buffer, protocol: string, mine: string): Promise<void> =>
      new Promise((resolve) => {
        let text = '';
        const socket = connectTls({ port: lintel.port, host: 'localhost', ca: made.cert, ALPNProtocols: [protocol] });
        socket.setTimeout(answerMsMax, () => socket.destroy());
        socket.on('data', (data: Buffer) => {
          text += data.toString('latin1');
          if (chance(70) && /\r\n0\r\n\r\n$|^HTTP[^]*\r\n\r\n[^]+/.test(text)) socket.end();
        });
        socket.on('error', () => {});
        socket.on('close', () => {
          if (text !== '') own(text, mine);
          resolve();
        });
        const cut = below(bytes.length + 1);
        socket.write(bytes.subarray(0, cut));
        socket.write(bytes.subarray(cut));
        if (protocol === 'h2' || chance(10)) socket.end();
      });

    const overHttp1 = async (): Promise<void> => {
      const { marker: mine, body, headers } = asked();
      const lines = Object.entries({ host: 'x', ...headers, 'content-length': String(body.length) }).map(
        ([name, value]) => `${name}: ${value}\r\n`,
      );
      const head = Buffer.from(`POST /v1/chat/completions HTTP/1.1\r\n${lines.join('')}\r\n`);
      await overTls(Buffer.concat([chance(10) ? mutated(head) : head, body]), 'http/1.1', mine);
    };

    /** A preface, settings, and frames of any kind, length and flags. */
    const frames = (): Buffer => {
      const frame = (): Buffer => {
        const payload = Buffer.from(Array.from({ length: below(60) }, () => below(256)));
        const head = Buffer.from([0, 0, payload.length, below(12), below(256), 0, 0, 0, below(6)]);
        return Buffer.concat([head, payload]);
      };
      const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
      const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      return mutated(Buffer.concat([preface, settings, ...Array.from({ length: below(20) }, frame)]));
    };

    const client = async (): Promise<void> => {
      while (systemClock.monotonicMs() < endMs) {
        const kind = below(10);
        if (kind < 5) await overHttp2();
        else if (kind < 9) await overHttp1();
        else await overTls(frames(), 'h2', 'none');
        await pause();
      }
    };
    await Promise.all(Array.from({ length: clients }, client));

    const completed = lintel.records.filter(({ outcome }) => outcome === route.Outcome.COMPLETED).length;
    expect([answered > seconds * 5, completed > seconds * 2, sessions > seconds]).toEqual([true, true, true]);
    expect(lintel.records.filter(({ outcome }) => outcome === route.Outcome.INTERNAL_ERROR)).toEqual([]);
    await eventually(() => expect(lintel.plane.inflight).toBe(0), 10_000);
    for (const replica of lintel.fleet.replicas) expect(replica.inflight).toBe(0);
    expect((lintel.plane as unknown as { heldBytes: number }).heldBytes).toBe(0);
    await eventually(() => expect(edge.front?.http2Sessions).toBe(0), 10_000);
    await overHttp2();
  },
  (seconds + 60) * 1000,
);
