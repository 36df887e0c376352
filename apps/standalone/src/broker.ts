import { EventRegistry } from '#libs/contracts';
import { type Broker, memoryBroker } from '#libs/event-log';
import { natsBroker } from '#libs/event-log-nats';
import { type Environment, systemEnvironment } from '#libs/kernel';

/** Where an app's broker is, in a form that crosses threads. */
export interface BrokerAddress {
  readonly url: string;
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** Shown by the server. */
  readonly name: string;
}

export async function connectBroker(address: BrokerAddress, log: (line: string) => void): Promise<Broker> {
  return await natsBroker({ ...address, registry: new EventRegistry(), log });
}

/** The log of a machine where no broker can be had: all apps of this process share it, and it ends with the process. */
export function inMemory(environment: Environment = systemEnvironment): Broker {
  return memoryBroker(environment, new EventRegistry());
}
