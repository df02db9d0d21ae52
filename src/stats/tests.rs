use rand::RngExt as _;
use rand_distr::{Distribution as _, Exp1, StandardNormal};

use super::*;

/// The quantile by writing every weighted request down.
fn oracle(requests: &[(u32, Option<u64>)], q: f64, weights: &[u32]) -> Option<u64> {
    let mut all: Vec<u64> = requests
        .iter()
        .flat_map(|(block, time)| {
            let times = weights[*block as usize] as usize;
            std::iter::repeat_n(time.unwrap_or(u64::MAX), times)
        })
        .collect();
    all.sort_unstable();
    let place = (1..=all.len()).find(|place| *place as f64 / all.len() as f64 >= q - 1e-12)?;
    Some(all[place - 1]).filter(|ns| *ns < u64::MAX)
}

#[test]
fn a_weighted_quantile_is_that_of_all_requests_written_down() {
    let mut rng = seed::rng(1, "samples", 0);
    let mut without_value = 0;
    for _ in 0..300 {
        let blocks = rng.random_range(1..12_usize);
        let requests: Vec<(u32, Option<u64>)> = (0..rng.random_range(1..60))
            .map(|_| {
                let block = rng.random_range(0..u32::try_from(blocks).expect("few"));
                let failed = rng.random_range(0..10) == 0;
                (block, (!failed).then(|| rng.random_range(0..40)))
            })
            .collect();
        let samples = Samples::new(blocks, requests.iter().copied());
        let failed = requests.iter().filter(|(_, time)| time.is_none()).count() as u64;
        assert_eq!(
            (samples.count(), samples.failed()),
            (requests.len() as u64, failed)
        );
        let weights: Vec<u32> = (0..blocks).map(|_| rng.random_range(0..4)).collect();
        for q in [0.0, 0.07, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0] {
            let expected = oracle(&requests, q, &weights);
            assert_eq!(samples.quantile(q, &weights), expected, "{q}: {requests:?}");
            without_value += u32::from(expected.is_none());
        }
    }
    assert!(without_value > 0, "some fall on failures");
}

#[test]
fn an_interval_is_that_of_the_resamples_sorted() {
    let means: Vec<f64> = (0..10).map(|n| f64::from(n * n)).collect();
    let mean = |weights: &[u32]| {
        let sum: f64 = means
            .iter()
            .zip(weights)
            .map(|(m, w)| m * f64::from(*w))
            .sum();
        Some(sum / 10.0)
    };
    let found = bootstrap_blocks(10, 3, mean).expect("ten blocks");
    let mut rng = seed::rng(3, "bootstrap", 10);
    let mut resamples: Vec<f64> = (0..2_000)
        .map(|_| (0..10).map(|_| means[rng.random_range(0..10)]).sum::<f64>() / 10.0)
        .collect();
    resamples.sort_unstable_by(f64::total_cmp);
    // 1.054 x 2.262 = 2.384 standard deviations out: 0.856 % of 2,000.
    let expected = (28.5, resamples[17], resamples[1982]);
    assert!((found.estimate - expected.0).abs() < 1e-9);
    assert!((found.low - expected.1).abs() < 1e-9, "{found:?}");
    assert!((found.high - expected.2).abs() < 1e-9, "{found:?}");
    assert_eq!(bootstrap_blocks(10, 3, mean), Some(found), "of one seed");
    assert_ne!(bootstrap_blocks(10, 4, mean), Some(found), "of another");
}

#[test]
fn bounds_widen_to_those_of_many_blocks() {
    // Student's quantiles by any table.
    for (freedom, expected) in [(7.0, 2.3646), (15.0, 2.1314), (31.0, 2.0395), (1e6, 1.96)] {
        assert!((student(freedom) - expected).abs() < 1e-3, "{freedom}");
    }
    for (x, expected) in [(-1.96, 0.024_998), (-2.5, 0.006_210), (-1.0, 0.158_655)] {
        assert!((below(x) - expected).abs() < 1e-6, "{x}");
    }
    assert_eq!([8, 16, 32, 1_000_000].map(beyond), [11, 28, 38, 50]);
}

#[test]
fn groups_are_resampled_each_by_itself() {
    let sums = |weights: &[Vec<u32>]| {
        let sums: Vec<u32> = weights.iter().map(|weights| weights.iter().sum()).collect();
        assert_eq!(sums, [8, 12]);
        Some(f64::from(weights[0][0]) - f64::from(weights[1][0]))
    };
    let interval = bootstrap_groups(&[8, 12], 1, sums).expect("enough blocks");
    assert!(interval.low < 0.0 && interval.high > 0.0, "{interval:?}");
    assert_eq!(bootstrap_groups(&[8, 7], 1, |_| Some(1.0)), None);
    assert_eq!(bootstrap_groups(&[], 1, |_| Some(1.0)), None);
}

#[test]
fn a_quantile_needs_samples_beyond_it() {
    assert_eq!([0.5, 0.95, 0.99].map(samples_needed), [5, 59, 299]);
}

#[test]
fn what_cannot_be_told_has_no_interval() {
    let one = |_: &[u32]| Some(1.0);
    assert_eq!(bootstrap_blocks(7, 1, one), None, "too few blocks");
    let same = bootstrap_blocks(8, 1, one).expect("eight blocks");
    assert_eq!((same.low, same.high), (1.0, 1.0));
    assert_eq!(bootstrap_blocks(8, 1, |_| None), None, "no value");
    assert_eq!(bootstrap_blocks(8, 1, |_| Some(f64::INFINITY)), None);

    // A block without which there is no value is missing from one resample in three.
    let needed = |weights: &[u32]| (weights[3] > 0).then_some(1.0);
    assert_eq!(bootstrap_blocks(8, 1, needed), None);
    // A resample that is half of one block comes hardly ever, and is beyond both bounds.
    let seldom = |weights: &[u32]| (weights[0] < 8).then(|| f64::from(weights[1]));
    assert!(bootstrap_blocks(16, 1, seldom).is_some());
}

/// In how many of `draws` experiments the interval of the difference holds the true one. In each,
/// `blocks` blocks of both sides share a disturbance, which differs from block to block.
fn covered(draws: u64, blocks: usize, statistic: Statistic) -> u64 {
    let per_block = 5;
    let covered = (0..draws).filter(|draw| {
        let mut rng = seed::rng(7, "coverage", *draw);
        let mut sides = [Vec::new(), Vec::new()];
        for block in 0..u32::try_from(blocks).expect("few") {
            let shared: f64 = StandardNormal.sample(&mut rng);
            for (side, requests) in sides.iter_mut().enumerate() {
                let own: f64 = StandardNormal.sample(&mut rng);
                for _ in 0..per_block {
                    let wait: f64 = Exp1.sample(&mut rng);
                    // The second side takes 500 more.
                    let time =
                        10_000.0 + 1_000.0 * (shared + 0.3 * own + wait) + 500.0 * side as f64;
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    requests.push((block, Some(time.max(0.0) as u64)));
                }
            }
        }
        let sums = sides.each_ref().map(|requests| {
            let mut sums = vec![0.0; blocks];
            for (block, time) in requests {
                sums[*block as usize] += time.expect("none failed") as f64;
            }
            sums
        });
        let [direct, via] = sides.map(|requests| Samples::new(blocks, requests));
        let interval = bootstrap_blocks(blocks, *draw, |weights| match statistic {
            Statistic::Mean => {
                let [direct, via] = sums.each_ref().map(|sums| {
                    let sum = sums.iter().zip(weights).map(|(s, w)| s * f64::from(*w));
                    sum.sum::<f64>() / (blocks * per_block) as f64
                });
                Some(via - direct)
            }
            Statistic::Quantile(q) => {
                Some(via.quantile(q, weights)? as f64 - direct.quantile(q, weights)? as f64)
            }
        });
        let interval = interval.expect("none failed");
        interval.low <= 500.0 && 500.0 <= interval.high
    });
    covered.count() as u64
}

#[derive(Clone, Copy, Debug)]
enum Statistic {
    Mean,
    Quantile(f64),
}

#[test]
fn intervals_cover_the_true_difference_as_often_as_they_say() {
    // Of 400 draws, 95 % are 380 and four standard deviations 17.
    for (blocks, statistic) in [
        (8, Statistic::Mean),
        (16, Statistic::Mean),
        (16, Statistic::Quantile(0.5)),
    ] {
        let covered = covered(400, blocks, statistic);
        assert!(
            (363..=392).contains(&covered),
            "{blocks} blocks, {statistic:?}: {covered} of 400"
        );
    }
    // Quantiles have few samples to go by: the interval may be too long, but not too short.
    let covered = covered(400, 16, Statistic::Quantile(0.95));
    assert!((363..=400).contains(&covered), "p95: {covered} of 400");
}
