import { freePorts } from '../../src/stack/ports.ts';
import { startBroker, type OwnBroker } from './broker.ts';

/** Brokers that share their partitions out, each on one of them. The first is the controller, too. */
export interface BrokerCluster {
  readonly brokers: readonly string[];
  stop(): Promise<void>;
}

export async function startBrokerCluster(size: number): Promise<BrokerCluster> {
  const [controller = 0] = await freePorts(1);
  const started: OwnBroker[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.toReversed().map((broker) => broker.stop()));
  };
  const start = async (id: number): Promise<void> => {
    started.push(await startBroker({ listeners: [], node: { id, controller, isController: id === 1 } }));
  };
  try {
    await start(1);
    const all = await Promise.allSettled(Array.from({ length: size - 1 }, (_, at) => start(at + 2)));
    for (const one of all) if (one.status === 'rejected') throw one.reason as Error;
  } catch (error) {
    await stop();
    throw error;
  }
  return { brokers: started.map(({ plain }) => plain), stop };
}
