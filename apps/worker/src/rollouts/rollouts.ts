import type { FoldChange, GatewayFold } from '../fold/gateway-fold.js';
import { PushHolds } from './push-holds.js';
import { RolloutDirector, type RolloutDirectorOptions } from './rollout-director.js';
import { RolloutSteering, type RolloutSteeringOptions } from './rollout-steering.js';

export interface RolloutsOptions extends Omit<RolloutDirectorOptions, 'onChange' | 'isHeld'>, Omit<RolloutSteeringOptions, 'director'> {
  /** What targets of the gateway should run, or the version that they wait for, is not what it was: those that restart are to be looked at. */
  onVersion(gateway: string): void;
}

/** Who knows which target should run what, and who brings it there. */
export class Rollouts {
  readonly director: RolloutDirector;
  readonly steering: RolloutSteering;
  readonly holds: PushHolds;

  constructor(options: RolloutsOptions) {
    const director = new RolloutDirector({
      ...options,
      isHeld: (gateway) => options.publisher(gateway)?.holds === true,
      onChange: (gateway) => {
        this.steering.steer(gateway);
        options.onVersion(gateway);
      },
    });
    this.director = director;
    this.steering = new RolloutSteering({ ...options, director });
    this.holds = new PushHolds({ ...options, hold: (gateway) => director.hold(gateway) });
  }

  start(): void {
    this.director.start();
    this.holds.start();
  }

  async close(): Promise<void> {
    await this.holds.close();
    await this.director.close();
    this.steering.close();
  }

  /** A gateway was read: resolves when what its targets should run is known. */
  async loaded(fold: GatewayFold): Promise<void> {
    fold.knowImmediate(await this.director.loaded(fold.gateway, fold.version, fold.settings));
  }

  /** The gateway is at another version. To be called before anything is sent for it: what is not for every target must not be sent to any. */
  applied(fold: GatewayFold, change: FoldChange): void {
    this.director.applied(fold);
    if (change.settings) this.steering.steer(fold.gateway);
  }
}
