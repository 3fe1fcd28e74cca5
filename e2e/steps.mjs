// Names each thing a scenario does, bounds it in time and reports it as one line. Runs in Node and in a page.

const STEP_MS = 30_000;

/** A step failed that everything after it stands on. */
export class ScenarioOver extends Error {}

export class Steps {
    failures = 0;

    constructor(print) {
        this.print = print;
    }

    /** A failed step does not hide the next ones. */
    async run(name, action, limit = STEP_MS) {
        let timer;
        const late = new Promise((_, reject) => {
            timer = setTimeout(() => reject(new Error(`nothing within ${limit / 1000} s`)), limit);
        });
        try {
            const value = await Promise.race([action(), late]);
            this.print(`ok ${name}`);
            return value;
        } catch (error) {
            this.failures += 1;
            this.print(`FAIL ${name}: ${String(error?.message ?? error).split("\n").slice(0, 4).join(" | ")}`);
            return undefined;
        } finally {
            clearTimeout(timer);
        }
    }

    async essential(name, action, limit = STEP_MS) {
        const before = this.failures;
        const value = await this.run(name, action, limit);
        if (this.failures > before) throw new ScenarioOver(name);
        return value;
    }
}

export function expect(condition, what) {
    if (!condition) throw new Error(what);
}
