// The refusal of a configuration: names the field that cannot be honoured. The xDS client turns it into a NACK.
// Thrown only while compiling; a decision made from a compiled plan never throws it.

export class PlanError extends Error {
  /** Where, in proto field names: `virtual_hosts[0].routes[2].match.headers[0]`. */
  readonly path: string;
  /** What is wrong with it, in words for an operator. */
  readonly problem: string;

  constructor(path: string, problem: string) {
    super(path === '' ? problem : `${path}: ${problem}`);
    this.name = 'PlanError';
    this.path = path;
    this.problem = problem;
  }
}
