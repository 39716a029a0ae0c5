//! One declarative table per foreign accelerator API
