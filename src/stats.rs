//! Statistics of paired samples: intervals by resampling blocks.
