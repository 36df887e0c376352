import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { STATUS_CODES } from 'node:http';
import { errorCode } from '#libs/kernel';
import type { ClientFault } from './http/faults.ts';
import { faults, headBytesMax } from './http/faults.ts';
import { errorBody } from './errors.ts';
import { Exchange } from './exchange.ts';
import { listenerOf } from './listening.ts';
import { Account } from './record.ts';
import { otherEndpoint } from './endpoints.ts';
import { route } from '#libs/contracts';
import { serveLimits } from './limits.ts';
import type { Plane } from './plane.ts';

/** For connections that come by node:http, after a request for the framework or over HTTP/2: what a server must be created with: these cannot be set later. */
export const serverOptions: ServerOptions = {
  maxHeaderSize: headBytesMax,
  noDelay: true,
  insecureHTTPParser: false,
  requireHostHeader: true,
  connectionsCheckingInterval: 2_000,
  headersTimeout: serveLimits.clientHeadersTimeoutMs,
  requestTimeout: serveLimits.clientRequestTimeoutMs,
  keepAliveTimeout: serveLimits.clientKeepAliveMs,
};

/** Faults by node's codes. */
const byCode: Readonly<Record<string, ClientFault>> = {
  HPE_HEADER_OVERFLOW: faults['headers-large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: faults['extensions-large'],
  ERR_HTTP_REQUEST_TIMEOUT: faults.timeout,
};

interface ServedSocket extends Socket {
  /** Node's: the response under way on this connection; null between two of them. */
  readonly _httpMessage?: ServerResponse | null;
}

/** Sets the bounds of a server and answers what never became a request. */
export function attachServer(server: Server, plane: Plane): void {
  const { limits } = plane;
  server.headersTimeout = limits.clientHeadersTimeoutMs;
  server.requestTimeout = limits.clientRequestTimeoutMs;
  server.keepAliveTimeout = limits.clientKeepAliveMs;
  server.maxHeadersCount = limits.clientHeadersMax;
  server.on('clientError', (error, socket) => onClientError(error, socket as ServedSocket, plane));
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    const { code, message } = faults.expectation;
    const body = errorBody(417, code, message);
    response.writeHead(417, { 'content-type': 'application/json', connection: 'close' }).end(body);
  });
}

/** The client closed its side in the middle of a request: it left. */
const left = new Set(['ECONNRESET', 'HPE_INVALID_EOF_STATE']);

function onClientError(error: Error, socket: ServedSocket, plane: Plane): void {
  if (socket.destroyed || !socket.writable || left.has(errorCode(error))) {
    socket.destroy();
    return;
  }
  const fault = byCode[errorCode(error)] ?? faults.malformed;
  const response = socket._httpMessage ?? undefined;
  const exchange = listenerOf(response);
  if (response !== undefined) {
    // Its own body is broken, and nothing was answered: it is told so. Otherwise what is broken comes after it: it ends as it would,
    // and the connection with it.
    if (exchange instanceof Exchange && !response.req.complete && !response.headersSent)
      exchange.refuseMalformed(fault);
    else if (response.writableEnded) socket.destroySoon();
    else response.once('finish', () => socket.destroySoon());
    return;
  }
  socket.end(answerUnparsed(plane, fault));
}

/** The answer to what never became a request; its record is written. */
export function answerUnparsed(plane: Plane, fault: ClientFault): string {
  const requestId = plane.environment.ids.uuid();
  const body = errorBody(fault.status, fault.code, fault.message);
  recordUnparsed(plane, requestId, fault);
  return (
    `HTTP/1.1 ${fault.status} ${STATUS_CODES[fault.status] ?? 'Error'}\r\ncontent-type: application/json\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\nrequest-id: ${requestId}\r\nx-lintel-request-id: ${requestId}\r\n` +
    `connection: close\r\n\r\n${body}`
  );
}

/** What never became a request has a record, too: its answer names an id. */
function recordUnparsed(plane: Plane, requestId: string, { status, code, message }: ClientFault): void {
  const account = new Account();
  account.outcome = route.Outcome.REJECTED_BAD_REQUEST;
  account.httpStatus = status;
  account.errorCode = code;
  account.errorMessage = message;
  const { outcome } = account;
  plane.metrics.refused(otherEndpoint.path, status, outcome);
  plane.record?.(account.toRecord(requestId, plane.environment.clock.nowMs(), otherEndpoint.path));
}
