import { CodedError, errorCode, errorText } from '#libs/kernel';

export interface ListenedAt {
  readonly host: string;
  readonly port: number;
  /** How whoever started the app says another port, and another address. Default: by LINTEL_PORT and LINTEL_HOST. */
  readonly portBy?: string;
  readonly hostBy?: string;
}

/** What a failed listen means to whoever started the app: PORT_TAKEN, HOST_INVALID, PORT_DENIED; anything else as it is. */
export function listenError(
  thrown: unknown,
  { host, port, portBy = 'LINTEL_PORT', hostBy = 'LINTEL_HOST' }: ListenedAt,
): unknown {
  const code = errorCode(thrown);
  if (code === 'EADDRINUSE') {
    return new CodedError('PORT_TAKEN', `port ${port} of ${host} is taken`, {
      advice: `Stop what listens there, or choose another one with ${portBy}; ${portBy} 0 picks a free one.`,
      cause: thrown,
    });
  }
  if (code === 'EACCES') {
    return new CodedError('PORT_DENIED', `this user may not listen on port ${port} of ${host}`, {
      advice: `Choose one above 1023 with ${portBy}.`,
      cause: thrown,
    });
  }
  if (/^(EADDRNOTAVAIL|EINVAL|ENOTFOUND|EAI_)/.test(code)) {
    return new CodedError('HOST_INVALID', `cannot listen on ${host}: ${errorText(thrown)}`, {
      advice: `Choose an address of this machine with ${hostBy}.`,
      cause: thrown,
    });
  }
  return thrown;
}
