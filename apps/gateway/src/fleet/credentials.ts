import { readFile } from 'node:fs/promises';
import { errorCode } from '#libs/kernel';
import { env } from '#libs/nest-kit';
import { fleetLimits } from './limits.ts';

export interface Credential {
  readonly value: string | undefined;
  /** Why there is none although one is named; never shows the key. */
  readonly problem: string | undefined;
}

const printable = /^[\u0021-\u007e]+$/;

/** The engine's own key from `env:NAME` or `file:/path`. Read again from time to time, since files are rotated. */
export async function readCredential(ref: string): Promise<Credential> {
  if (ref === '') return { value: undefined, problem: undefined };
  const found = await lookUp(ref);
  if (
    found.value === undefined ||
    (printable.test(found.value) && found.value.length <= fleetLimits.credentialBytesMax)
  ) {
    return found;
  }
  return { value: undefined, problem: `the credential ${ref} is not one line of printable characters` };
}

async function lookUp(ref: string): Promise<Credential> {
  const [, scheme, rest = ''] = /^(env|file):(.+)$/.exec(ref) ?? [];
  if (scheme === 'env') {
    const value = env.variable(rest);
    return { value, problem: value === undefined ? `the variable ${rest} for its credential is not set` : undefined };
  }
  if (scheme === 'file') {
    try {
      return { value: (await readFile(rest, 'utf8')).trim(), problem: undefined };
    } catch (thrown) {
      return { value: undefined, problem: `cannot read the credential file ${rest}: ${errorCode(thrown)}` };
    }
  }
  return { value: undefined, problem: 'its credential is neither env:NAME nor file:/path' };
}
