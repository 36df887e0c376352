import type { NotaryAnswer } from '#libs/domain/diag';
import { CodedError, errorText } from '#libs/kernel';
import type { Cli } from '../cli.ts';
import { ApiClient } from '../http/client.ts';
import type { Server } from '../http/find-server.ts';
import { networkText, unreachable } from '../http/find-server.ts';
import { exitCodes } from '../exit-codes.ts';
import type { ExitCode } from '../exit-codes.ts';
import type { AppStatus } from '../render/status.ts';
import { appStatus, renderStatus } from '../render/status.ts';
import type { AddCommands } from './command.ts';

/** /ready of one app, whatever it answers. Needs no key, so none is sent. */
async function ask(app: string, url: string, trusted: Server['trusted']): Promise<AppStatus> {
  try {
    const { status, text } = await new ApiClient({ apiUrl: url, adminKey: '', foundIn: '', trusted }).any('/ready');
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    return appStatus(app, url, status, body);
  } catch (thrown) {
    const cause = thrown instanceof CodedError ? (thrown.cause ?? thrown) : thrown;
    return { app, url, ready: undefined, state: 'unknown', error: networkText(cause), dependencies: {} };
  }
}

export async function status(cli: Cli): Promise<ExitCode> {
  const api = await cli.api();
  const { server } = api;
  const apps = await Promise.all([
    ...(server.gatewayUrl === undefined ? [] : [ask('gateway', server.gatewayUrl, server.gatewayTrusted)]),
    ask('diagnostics', server.apiUrl, server.trusted),
  ]);
  // A key that does not fit, for one, is said and hides nothing of the rest.
  const notary = await api.json<NotaryAnswer>('/api/v1/notary').catch((thrown: unknown) => {
    if (apps.some(({ ready }) => ready !== undefined)) cli.note(`the notary could not be asked: ${errorText(thrown)}`);
    return undefined;
  });
  const durability = notary?.durability ?? server.durability;
  await cli.answer(
    {
      ...(durability === undefined ? {} : { durability }),
      ...(server.pid === undefined ? {} : { pid: server.pid }),
      apps,
      ...(notary === undefined ? {} : { notary }),
    },
    (layout) => renderStatus(apps, layout, notary),
  );
  // What nobody answered for is said once more as what it is: never started, ended, or deaf.
  if (apps.every(({ ready }) => ready === undefined)) throw unreachable(server, new Error('none of its apps answers'));
  return apps.every(({ ready }) => ready === true) ? exitCodes.ok : exitCodes.no;
}

export const addStatus: AddCommands = (program, act) => {
  act(program.command('status').description('what runs, and whether each dependency is ready'), status);
};
