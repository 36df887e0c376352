import { createServer } from 'node:net';
import { CodedError, errorCode } from '#libs/kernel';
import { listenError } from '#libs/nest-kit';

/** The port itself, or a free one for 0. @throws PORT_TAKEN, PORT_DENIED, HOST_INVALID */
export async function claimPort(host: string, port: number, flag: string): Promise<number> {
  const server = createServer();
  try {
    return await new Promise<number>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, exclusive: true }, () => resolve((server.address() as { port: number }).port));
    });
  } catch (cause) {
    throw listenError(cause, { host, port, portBy: flag, hostBy: '--host' });
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

const apiPortDefault = 8090;

/** The port of diagnostics. Its default is a wish: the command line finds it anywhere. @throws PORT_TAKEN for a port that was asked for */
export async function apiPort(host: string, asked: number | undefined): Promise<{ port: number; note: string }> {
  if (asked !== undefined) return { port: await claimPort(host, asked, '--api-port'), note: '' };
  try {
    return { port: await claimPort(host, apiPortDefault, '--api-port'), note: '' };
  } catch (error) {
    if (errorCode(error) !== 'PORT_TAKEN') throw error;
    return { port: await claimPort(host, 0, '--api-port'), note: ` (${apiPortDefault} is taken; --api-port)` };
  }
}

/** A port that was free a moment ago may be taken by now: what diagnostics says of it, by the flag that was given here. */
export function portTaken(error: unknown, port: number, flag: string): unknown {
  if (errorCode(error) !== 'PORT_TAKEN') return error;
  return new CodedError('PORT_TAKEN', `port ${port} is taken`, {
    advice: `Choose another one with ${flag}.`,
    cause: error,
  });
}
