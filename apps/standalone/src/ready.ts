import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Environment, Pinned } from '#libs/kernel';
import { errorCode, pinnedTo } from '#libs/kernel';

const readyMsMax = 30_000;
const askEveryMs = 50;
const askMsMax = 2_000;
const textLengthMax = 300;

interface Said {
  readonly status: number;
  readonly text: string;
}

async function ask(url: string, trusted: Pinned | undefined): Promise<Said> {
  const answered = Promise.withResolvers<Said>();
  const options = { agent: false, signal: AbortSignal.timeout(askMsMax), ...trusted };
  const send = url.startsWith('https:') ? httpsRequest : httpRequest;
  const sent = send(`${url}/ready`, options, (response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      if (text.length < textLengthMax) text += chunk;
    });
    response.on('error', answered.reject);
    response.on('end', () => answered.resolve({ status: response.statusCode ?? 0, text }));
  });
  sent.on('error', answered.reject);
  sent.end();
  return await answered.promise;
}

/** It serves, and takes only clients with a certificate, which this process has not. */
const wantsCertificate = (code: string): boolean => /ALERT_(?:CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)$/.test(code);

/**
 * Waits until the gateway says that it serves, bounded. Resolves to undefined, or to what it said last.
 * `certFile`: the certificate of an https gateway, which it must have shown.
 */
export async function waitReady(
  url: string,
  { clock, timers }: Pick<Environment, 'clock' | 'timers'>,
  { certFile, msMax = readyMsMax }: { readonly certFile?: string | undefined; readonly msMax?: number } = {},
): Promise<string | undefined> {
  const untilMs = clock.monotonicMs() + msMax;
  for (;;) {
    let said: string;
    try {
      // Read each time: it may be replaced meanwhile.
      const trusted = certFile === undefined ? undefined : pinnedTo(await readFile(certFile, 'utf8'));
      const { status, text } = await ask(url, trusted);
      if (status === 200) return undefined;
      said = `${status} ${text.slice(0, textLengthMax)}`;
    } catch (thrown) {
      const code = errorCode(thrown);
      if (wantsCertificate(code)) return undefined;
      said = `no answer (${code})`;
    }
    if (clock.monotonicMs() > untilMs) return said;
    await timers.sleep(askEveryMs);
  }
}
