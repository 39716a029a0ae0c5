//! One small process per task, which outlives the agent.
