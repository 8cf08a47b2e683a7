/**
 * The ports on which Chancery's own processes, its database and its queue listen on this machine. A provider of the
 * process that handles commands; without it no port is known to be ours.
 */
export class OwnPorts {
  readonly ports: ReadonlySet<number>;

  constructor(ports: Iterable<number>) {
    this.ports = new Set(ports);
  }
}
