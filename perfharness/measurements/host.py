"""host: what each tester is: programs, kernel, NIC, limits, clock. No traffic."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from perfharness.evidence import TaskFiles
from perfharness.measurements.base import SETUP_S, Context, Params, failed, fitness, not_completed, window_of
from perfharness.model import Fitness, Job, Measurement, Observation, Role, Status, Task

FACTS = "facts"


class HostFacts:
    name = "host"
    parameters = Params
    statistics: Mapping[str, Collection[str]] = {"tools": ("present",)}

    def tasks(self, params: Params, step: str, context: Context) -> tuple[Task, ...]:
        jobs = tuple(
            Job(
                id=FACTS,
                endpoint=end.name,
                method="host.facts",
                args={"interface": end.interface, "address": str(end.address), "iperf3": end.iperf3},
                role=Role.DRIVE,
                deadline_s=20.0,
            )
            for end in (context.a, context.z)
        )
        return (
            Task(
                id=step,
                step=step,
                measurement=self.name,
                scope=context.scope(None),
                jobs=jobs,
                duration_s=SETUP_S,
                yields={"tools": ()},
            ),
        )

    def analyse(self, task: Task, files: TaskFiles, context: Context) -> Measurement:
        broken = not_completed(task, files)
        if broken:
            return broken
        facts, fit = {}, []
        for end in (context.a, context.z):
            result = files.result(end.name, FACTS)
            if result is None or result["status"] != "completed":
                return failed(task, files, f"{end.name} left no facts.")
            facts[end.name] = result["data"]
            fit.append(self._fitness(end.name, task, result["data"], context, files.path(end.name, FACTS)))
        tools = Observation(
            metric="tools",
            statistic="present",
            scope=task.scope,
            unit="",
            value=all(data["iperf3"] for data in facts.values()),
            n=len(facts),
            evidence=tuple(files.path(name, FACTS) for name in facts),
            reason="; ".join(
                f"{name}: Python {data['python']}, iperf3 {(data['iperf3'] or {}).get('version', 'missing')}"
                for name, data in facts.items()
            ),
        )
        return Measurement(
            task,
            Status.COMPLETED,
            window=window_of(files.outcome()),
            observations=(tools,),
            fitness=tuple(fit),
            facts=facts,
        )

    @staticmethod
    def _fitness(host: str, task: Task, data: dict[str, Any], context: Context, evidence: str) -> Fitness:
        reasons = []
        speed = data["nic"].get("speed_bps")
        if speed is not None and speed < context.committed_bps:
            reasons.append(f"its interface runs at {speed / 1e6:.0f} Mbit/s, below the ordered rate")
        if data["nic"].get("duplex") == "half":
            reasons.append("its interface runs half duplex")
        return fitness(host, task, reasons, (evidence,))
