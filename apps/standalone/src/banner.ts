export interface BannerFacts {
  readonly gatewayUrl: string;
  /** Files of a gateway behind https. */
  readonly tls: { readonly cert: string; readonly clientCa?: string | undefined } | undefined;
  readonly apiUrl: string;
  /** Undefined where no key is needed, and where only the configuration file knows keys, by their hashes. */
  readonly apiKey: string | undefined;
  readonly open: boolean;
  readonly configFile: string | undefined;
  readonly model: string | undefined;
  readonly durability: 'memory' | 'disk';
  readonly home: string;
  /** `--home …` where it is not the default, so that the printed commands work as they stand. */
  readonly homeFlag: string;
  readonly startedIn: string;
}

/** What a newcomer copies from: the addresses, the key, a request, and three questions to ask afterwards. */
export function banner(facts: BannerFacts): string {
  const { gatewayUrl, apiUrl, apiKey, open, model = '<model>', homeFlag } = facts;
  const key = open ? undefined : (apiKey ?? '<your key>');
  const authorization = key === undefined ? '' : ` \\\n    -H 'authorization: Bearer ${key}'`;
  const tls =
    facts.tls === undefined
      ? ''
      : `  certificate  ${facts.tls.cert}; where nobody that curl trusts has signed it, add --cacert <its authority>\n`;
  const mutual = facts.tls?.clientCa === undefined ? '' : ' \\\n    --cert <your certificate> --key <its key>';
  const memory =
    facts.durability === 'memory'
      ? '\n  NOT DURABLE: there is no broker, the log is in memory and ends with this process.\n'
      : '';
  return `
  Lintel is ready after ${facts.startedIn}. State lives in ${facts.home}. Ctrl-C stops everything.
${memory}
  gateway      ${gatewayUrl}/v1
${tls}  diagnostics  ${apiUrl}
  API key      ${open ? 'none needed: requests go to the engines as they come' : (apiKey ?? `one of those whose hashes stand in ${facts.configFile ?? ''}`)}

  curl -N -i ${gatewayUrl}/v1/chat/completions${mutual}${authorization} \\
    -H 'content-type: application/json' \\
    -d '{"model":"${model}","stream":true,"max_tokens":32,"messages":[{"role":"user","content":"Hello"}]}'

  npx lintel why <x-lintel-request-id>${homeFlag}     which replica, over which others, on what evidence
  npx lintel replay --since 1h --verify${homeFlag}    decide every request again: the same choice?
  npx lintel log --follow${homeFlag}                  every decision as it is made
`;
}

/** How to come from a log in memory to one on disk. */
export function warning(advice: string): string {
  return `\n  NOT DURABLE. ${advice}\n\n`;
}
