//! The shared-memory pages between the agent and a tenant process
