"""What `calc train --json` prints: plain numbers in bytes, seconds, FLOPs and USD; a range is [low, high]."""

from typing import Any

from llmprep.calc.parallel import Held
from llmprep.calc.run import Run


def data(run: Run) -> dict[str, Any]:
    """Everything that the sheet shows."""
    job, lay, recipe = run.job, run.layout, run.job.recipe
    return {
        "model": run.subject,
        "gpu": run.planner.gpu.name,
        "method": job.method,
        "recipe": job.recipe_name,
        "seq_len": job.seq_len,
        "params": job.total,
        "trained_params": job.trained,
        "bytes_per_trained_param": recipe.total,
        "states_bytes": job.states,
        "states": {
            "weights": recipe.weights * job.trained,
            "gradients": recipe.gradients * job.trained,
            "optimizer": recipe.optimizer * job.trained,
            "frozen": job.frozen_bytes,
        },
        "activations_of_a_sequence": {policy: held.activations for policy, held in run.whole.items()},
        "logits_of_a_sequence": run.whole["none"].head,
        "usable_bytes": run.plan.room,
        "fits": run.plan.fits,
        "per_gpu": _held(run.plan.held),
        "by_zero_stage": [{"zero": i, **_whether(run, held)} for i, held in enumerate(run.stages)],
        "by_recomputation": [{"recompute": policy, **_whether(run, held)} for policy, held in run.policies.items()],
        "layout": {
            "gpus": lay.gpus,
            "tensor_parallel": lay.tensor,
            "pipeline_parallel": lay.pipeline,
            "data_parallel": lay.data,
            "zero": lay.zero,
            "recompute": lay.recompute,
            "sequence_parallel": lay.sequence,
            "micro_batch": lay.micro_batch,
            "accumulation": lay.accumulation,
            "global_batch_tokens": run.batch_tokens,
            "pipeline_bubble": lay.bubble,
        },
        "rule": run.plan.rule,
        "fewest_gpus": run.fewest,
        "fewest_gpus_for_states": run.fewest_for_states,
        "sent_bytes_per_step": {
            "data_parallel": run.sent.data_once + lay.accumulation * run.sent.data_each,
            "tensor_parallel": lay.accumulation * run.sent.tensor_each,
            "pipeline_parallel": lay.accumulation * run.sent.pipeline_each,
        },
        "tokens": run.tokens,
        "flops_per_token_6n": job.flops_by_6n,
        "flops_per_token": job.flops,
        "flops_6nd": job.flops_by_6n * run.tokens,
        "flops": job.flops * run.tokens,
        "mfu": list(run.mfu),
        "hfu": list(run.hfu),
        "tokens_per_second": list(run.tokens_per_second),
        "seconds_6nd": list(run.seconds(job.flops_by_6n)),
        "seconds": list(run.seconds(job.flops)),
        "gpu_hours_6nd": list(run.gpu_hours(job.flops_by_6n)),
        "gpu_hours": list(run.gpu_hours(job.flops)),
        "price_usd_per_gpu_hour": list(run.prices) if run.prices else None,
        "cost_usd": list(run.cost) if run.cost else None,
    }


def _held(held: Held) -> dict[str, float]:
    return {**held._asdict(), "states": held.states, "total": held.total}


def _whether(run: Run, held: Held) -> dict[str, float | bool]:
    return {"states_bytes": held.states, "total_bytes": held.total, "fits": held.total <= run.plan.room}
