import { Agent, buildConnector } from 'undici';
import type { Timers } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { UpstreamTrust } from '../edge/upstream-tls.ts';
import { secured } from '../edge/upstream-tls.ts';
import { fleetLimits } from './limits.ts';

export interface ProbeResult {
  readonly status: number;
  readonly text: string;
}

/** Asks one URL of a replica. @throws PROBE_FAILED, with the reason in words; `cause` has the code of a refused connection */
export type Probe = (
  origin: string,
  path: string,
  credential: string | undefined,
  bytesMax: number,
) => Promise<ProbeResult>;

/**
 * GET with every bound: connect, headers, body size, and one deadline over all. Redirects are not followed: what they point to is
 * not the replica. One connection for each replica, apart from those of the data plane.
 */
export function createProbe(
  timers: Timers,
  trustOf: (origin: string) => UpstreamTrust | undefined = () => undefined,
): { probe: Probe; close(): Promise<void> } {
  const { pollTimeoutMs, pollHeaderBytesMax } = fleetLimits;
  const agent = new Agent({
    connections: 1,
    pipelining: 1,
    // Asked for each connection: files of certificates change.
    connect: (options, done) =>
      buildConnector({
        timeout: pollTimeoutMs,
        ...secured(trustOf(`${options.protocol}//${options.hostname}:${options.port || 443}`)),
      })(options, done),
    headersTimeout: pollTimeoutMs,
    bodyTimeout: pollTimeoutMs,
    maxHeaderSize: pollHeaderBytesMax,
    keepAliveTimeout: 10_000,
  });
  const ask = async (
    origin: string,
    path: string,
    credential: string | undefined,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<ProbeResult> => {
    const answer = await agent.request({
      origin,
      path,
      method: 'GET',
      headers: {
        'user-agent': 'lintel-gateway',
        ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
      },
      signal,
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw new Error(`more than ${bytesMax} bytes`);
      chunks.push(chunk);
    }
    return { status: answer.statusCode, text: Buffer.concat(chunks).toString('utf8') };
  };
  const probe: Probe = async (origin, path, credential, bytesMax) => {
    const abort = new AbortController();
    const deadline = timers.after(pollTimeoutMs, () =>
      abort.abort(new Error(`no whole answer in ${pollTimeoutMs} ms`)),
    );
    const once = (): Promise<ProbeResult> => ask(origin, path, credential, bytesMax, abort.signal);
    try {
      // A kept connection may have been closed by the other side in this very moment: one more on a new one.
      return await once().catch((thrown: unknown) => {
        if (errorCode(thrown) !== 'UND_ERR_SOCKET' && errorCode(thrown) !== 'ECONNRESET') throw thrown;
        return once();
      });
    } catch (cause) {
      const why = abort.signal.aborted ? errorText(abort.signal.reason) : errorText(cause) || errorCode(cause);
      throw new CodedError('PROBE_FAILED', `GET ${path}: ${why}`.slice(0, fleetLimits.errorLengthMax), { cause });
    } finally {
      deadline.cancel();
    }
  };
  return { probe, close: () => agent.destroy() };
}

/** True where nothing listens: no further poll is needed to know it. */
export function isRefused(thrown: unknown): boolean {
  const cause = thrown instanceof CodedError ? thrown.cause : thrown;
  return ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND'].includes(errorCode(cause));
}
