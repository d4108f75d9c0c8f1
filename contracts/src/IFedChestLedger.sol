// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IInstitutions} from "./IInstitutions.sol";

/// @title The ledger of one FedChest study: who takes part, what each round committed, and what became of it.
/// @notice Holds hashes, public weight classes, privacy spend and votes. No image, update or patient datum goes on chain.
/// A round goes None -> Open -> Submitting -> Proposed -> Finalized, or to Void from any live phase; at most one is live.
interface IFedChestLedger is IInstitutions {
    // ------------------------------------------------------------------------------------------------------- types

    enum Phase { None, Open, Submitting, Proposed, Finalized, Void }

    enum VoidCause { Abandoned, Rejected, Expired, Disputed }

    /// @notice What a round's artifact is; the institution of the last three is 0.
    enum ArtifactKind { SealedUpdate, Manifest, Sum, Model, Record }

    /// @param study Hash of the study document: the configuration that rounds run under, unless others are allowed.
    /// @param app Hash of the software that the institutions agreed to run.
    /// @param founders How many institutions found the study; all of them are listed before any approves.
    /// @param submissionSeconds Time from a round's opening in which updates are taken.
    /// @param attestationSeconds Time from a proposal in which attestations count.
    /// @param cohortSize Institutions drawn for a round; 0 stands for all that are active.
    /// @param minimumAccepted Fewest accepted updates that a proposal may rest on.
    /// @param crashOnly Quorum floor(n/2)+1, which tolerates crashes only, instead of floor(2n/3)+1.
    /// @param byContribution Credits by the proposed contribution scores instead of weight class.
    /// @param normBound Largest L2 norm of an update, in millionths.
    /// @param epsilonBudget Largest budget that an institution may be registered with, in micro-units of epsilon.
    struct Rules {
        bytes32 study;
        bytes32 app;
        uint16 founders;
        uint32 submissionSeconds;
        uint32 attestationSeconds;
        uint16 cohortSize;
        uint16 minimumAccepted;
        bool crashOnly;
        bool byContribution;
        uint64 normBound;
        uint64 epsilonBudget;
    }

    /// @param members How many institutions take part.
    /// @param quorum Agreeing attestations that finalize the round.
    /// @param agreeing Attestations that counted for the proposal.
    /// @param disagreeing Attestations that counted against it.
    /// @param deadline Last second (block time) of the present phase.
    /// @param openedBlock Block in which the round opened.
    /// @param parent The finalized round whose model it starts from; 0 stands for the initial model.
    /// @param halted Whether a pause stops it: a copy, so that a submission reads one word less.
    /// @param baseModel Hash of the global model that the round starts from.
    /// @param config Hash of the round's configuration.
    /// @param newModel Hash of the proposed global model; zero before a proposal.
    /// @param record Hash of the coordinator's record of the aggregation.
    /// @param sumHash Hash of the integer weighted sum that the proposal rests on.
    /// @param fingerprint Of that sum, at the points that the commitments and `sumHash` fix.
    /// @param unanswered Accepted institutions whose own fingerprint is still missing.
    /// @param gathered Weighted sum of the fingerprints answered so far.
    /// @param proposal Hash of all that was proposed: keccak256(abi.encode(proposal, accepted, scores)).
    /// @param artifacts Merkle root over the artifacts that the proposal rests on; see isArtifact.
    struct Round {
        Phase phase;
        uint16 members;
        uint16 quorum;
        uint16 agreeing;
        uint16 disagreeing;
        uint64 deadline;
        uint64 openedBlock;
        uint32 parent;
        bool halted;
        bytes32 baseModel;
        bytes32 config;
        bytes32 newModel;
        bytes32 record;
        bytes32 sumHash;
        bytes24 fingerprint;
        uint16 unanswered;
        bytes24 gathered;
        bytes32 proposal;
        bytes32 artifacts;
    }

    /// @notice What an institution commits to; its EIP-712 digest is the commitment.
    /// @param baseModel Hash of the model that training started from: the round's.
    /// @param sealedHash Hash of the sealed update.
    /// @param plaintextHash Hash of a salt and the encoded update.
    /// @param manifestHash Hash of the manifest.
    /// @param weightClass The institution's registered one.
    /// @param epsilon Cumulative epsilon of the institution's patients, this round included, in micro-units.
    struct Submission {
        uint256 round;
        uint16 institution;
        bytes32 baseModel;
        bytes32 sealedHash;
        bytes32 plaintextHash;
        bytes32 manifestHash;
        uint16 weightClass;
        uint64 epsilon;
    }

    /// @notice What the coordinator proposes; the parts are described at Round.
    struct Proposal {
        bytes32 newModel;
        bytes32 record;
        bytes32 sumHash;
        bytes24 fingerprint;
        bytes32 artifacts;
    }

    /// @notice What a member computed itself from the base model, the sum and its own update.
    /// @param proposal Hash of the proposal that the vote is on; see Round.
    /// @param newModel Hash of the model that base model and sum give.
    /// @param fingerprint Of the sum.
    /// @param share Fingerprint of the member's own update; it counts if that is among the accepted.
    /// @param checks Bit mask of the checks that passed; see REQUIRED_CHECKS.
    struct Attestation {
        bytes32 proposal;
        bytes32 newModel;
        bytes24 fingerprint;
        bytes24 share;
        uint8 checks;
    }

    /// @param institution The institution whose update was not aggregated.
    /// @param reason Why: an append-only code, never zero; the names are in fedchest/refusals.py.
    struct Refusal {
        uint16 institution;
        uint8 reason;
    }

    // ------------------------------------------------------------------------------------------------------ events

    event StudyCreated(address indexed coordinator, Rules rules);
    event InitialModelApproved(bytes32 model, bytes32 provenance, bytes32 roster);
    event ModelRestored(uint256 indexed round, bytes32 model);
    event StudyMoved(address indexed successor, uint256 lastRound, bytes32 model, bytes32 checkpoint);
    event AllowanceChanged(bytes32 indexed hash, bool allowed);
    event RoundOpened(
        uint256 indexed round,
        bytes32 baseModel,
        uint256 parent,
        bytes32 config,
        uint16[] members,
        uint16 quorum,
        uint64 deadline
    );
    event UpdateSubmitted(
        uint256 indexed round,
        uint16 indexed institution,
        bytes32 commitment,
        bytes32 sealedHash,
        bytes32 plaintextHash,
        bytes32 manifestHash,
        uint16 weightClass,
        uint64 epsilon
    );
    event EquivocationProven(
        uint256 indexed round, uint16 indexed institution, bytes32 commitment, bytes32 otherCommitment
    );
    event UpdateRefused(uint256 indexed round, uint16 indexed institution, uint8 reason);
    event AggregateProposed(
        uint256 indexed round,
        bytes32 newModel,
        bytes32 record,
        bytes32 sumHash,
        bytes24 fingerprint,
        bytes32 artifacts,
        uint16[] accepted,
        uint32[] scores,
        uint64 deadline
    );
    event Attested(
        uint256 indexed round,
        uint16 indexed institution,
        bytes32 recomputedModel,
        bytes24 fingerprint,
        bytes24 share,
        uint8 checks,
        bool agrees
    );
    event AnsweredFor(
        uint256 indexed round, uint16 indexed institution, uint16 indexed voucher, bytes24 share
    );
    event Credited(uint256 indexed round, uint16 indexed institution, uint64 amount);
    event RoundFinalized(uint256 indexed round, bytes32 newModel);
    event RoundVoided(uint256 indexed round, VoidCause cause);

    // ------------------------------------------------------------------------------------------------------ errors

    error InvalidRules();
    error EmptyModel();
    error RoundLive(uint256 round);
    error TooFewInstitutions(uint16 registered, uint16 needed);
    error WrongRoster(bytes32 expected);
    error NotFinalized(uint256 round);
    error StudyOver(address successor);
    error NotAllowed(bytes32 hash);
    error NoEquivocation();
    error WrongProposal(bytes32 expected);
    error AlreadyProven(uint256 round, uint16 institution);
    error NotMember(uint256 round, uint16 institution);
    error WrongPhase(uint256 round, Phase phase);
    error DeadlinePassed(uint64 deadline);
    error DeadlineNotReached(uint64 deadline);
    error AlreadySubmitted(uint256 round, uint16 institution);
    error WrongBaseModel(bytes32 expected);
    error WrongWeightClass(uint16 registered);
    error OverBudget(uint64 epsilon, uint64 budget);
    error SpendDecreased(uint64 epsilon, uint64 spent);
    error TooFewAccepted(uint256 accepted, uint16 minimum);
    error NotIncreasing(uint16 institution);
    error NotSubmitted(uint256 round, uint16 institution);
    error AcceptedAndRefused(uint16 institution);
    error MissingReason(uint16 institution);
    error AlreadyAttested(uint256 round, uint16 institution);
    error WrongScores(uint256 given, uint256 expected);
    error NotOwed(uint256 round, uint16 institution);
    error AlreadyVouched(uint256 round, uint16 institution, uint16 voucher);

    // ----------------------------------------------------------------------------------------------------- actions

    /// @notice Open the next round from the present global model, under an allowed configuration. Coordinator only, while
    /// no round is live.
    /// @dev A cohort is drawn from the hash of the block before the founding or the last finalization, hashed once more
    /// for each round since then that came to nothing, so that neither opening, abandoning nor expiring at another time
    /// draws anybody else. Who produces blocks, or sends the vote that finalizes, can still wait for a hash that suits.
    function openRound(bytes32 config) external returns (uint256 round);

    /// @notice Commit to an update, once a round, from the institution's own wallet, before the deadline.
    function submitUpdate(Submission calldata submission) external;

    /// @notice The same for an institution that signed the submission (EIP-712) and can't send it itself. Anyone may.
    function submitUpdateFor(Submission calldata submission, bytes calldata signature) external;

    /// @notice Put on record that an institution committed to two different updates in a round. Anyone may, once a round
    /// and institution, whenever it comes out.
    /// @param signature Of `submission`, by the institution's wallet, or one that was it when the round was open; empty if
    /// that is what it committed to on chain.
    function reportEquivocation(
        Submission calldata submission,
        bytes calldata signature,
        Submission calldata other,
        bytes calldata otherSignature
    ) external;

    /// @notice Propose the aggregate of an open round. Coordinator only; institutions strictly increasing, no overlap.
    /// @param scores The accepted institutions' contributions, in their order; none where credits go by weight class.
    function proposeAggregate(
        uint256 round,
        Proposal calldata proposal,
        uint16[] calldata accepted,
        uint32[] calldata scores,
        Refusal[] calldata refusals
    ) external;

    /// @notice Give up an open round, with the refusals on record. Coordinator only.
    function abandonRound(uint256 round, Refusal[] calldata refusals) external;

    /// @notice Vote on a proposal with the results that the member computed itself, once a round.
    /// @dev The round is finalized when a quorum of equal results agrees with the proposal and every accepted
    /// institution has answered with its share, and void at once when the shares don't add up to the sum's fingerprint.
    /// After the outcome, until the next round opens, a vote is put on record and changes nothing.
    function attest(uint256 round, Attestation calldata attestation) external;

    /// @notice Answer for an accepted institution that stays silent and whose update was opened to the caller: once a round
    /// and institution. When a quorum of members has the same share, it counts as that institution's answer.
    /// @param proposal Hash of the proposal that the share belongs to; see Round.
    /// @param share Fingerprint of the opened update.
    function answerFor(uint256 round, uint16 institution, bytes32 proposal, bytes24 share) external;

    /// @notice Void a live round whose deadline has passed. Anyone may call it.
    function expireRound(uint256 round) external;

    // ------------------------------------------------------------------------------------------- by decision only

    /// @notice Begin the study with a first model; once.
    /// @param provenance Hash of the document that says how to make the model: seed and command, or file.
    /// @param roster The founding institutions; see there.
    function approveInitialModel(bytes32 model, bytes32 provenance, bytes32 roster) external;

    /// @notice Go on from an earlier finalized model, 0 for the initial one, while no round is live; history stays.
    function restartFrom(uint256 round) external;

    /// @notice Allow another configuration to open rounds under, or no longer.
    function setAllowed(bytes32 hash, bool allowed) external;

    /// @notice End this ledger: the study goes on in another, which starts from this one's last model. For good.
    function moveStudy(address successor) external;

    // ------------------------------------------------------------------------------------------------------- views

    /// @notice Checks that an agreeing attestation must have passed: 1 own update accepted under its own commitment or
    /// rightly absent, 2 base model and lineage, 4 weight classes, 8 the new model is what base model and sum give, 16 the
    /// sum has the proposed hash and fingerprint, 32 the sum's mean is within the norm bound, 64 the artifact root is
    /// that of the round's artifacts. That the sum is the sum of
    /// the accepted updates is what the shares add up to, which this contract checks itself.
    function REQUIRED_CHECKS() external view returns (uint8);

    /// @notice Credits that a finalized round splits among the accepted, rounded down: by weight class, or by score where the
    /// rules say so and not all scores are 0.
    function ROUND_CREDITS() external view returns (uint64);

    function rules() external view returns (Rules memory);

    /// @notice Hash of the first model; zero until it is approved.
    function initialModel() external view returns (bytes32);

    /// @notice Hash of the model that the next round starts from.
    function globalModel() external view returns (bytes32);

    /// @notice The finalized round that it comes from; 0 for the initial model.
    function head() external view returns (uint32);
    function currentRound() external view returns (uint256);

    /// @notice The ledger that this study moved to; zero as long as it did not.
    function successor() external view returns (address);

    /// @notice Whether rounds may be opened under that configuration.
    function isAllowed(bytes32 hash) external view returns (bool);

    /// @notice Whether two different commitments of the institution in the round were proven.
    function hasEquivocated(uint256 round, uint16 institution) external view returns (bool);

    /// @notice The round of that number; phase None if it never opened.
    function round(uint256 number) external view returns (Round memory);

    function isMember(uint256 round, uint16 institution) external view returns (bool);

    /// @notice What the institution committed to in the round; zero if nothing.
    function commitment(uint256 round, uint16 institution) external view returns (bytes32);

    function hasAttested(uint256 round, uint16 institution) external view returns (bool);

    /// @notice Whether the institution's update is accepted and its fingerprint not yet answered.
    function owes(uint256 round, uint16 institution) external view returns (bool);

    /// @notice The institutions whose updates the proposal rests on, in increasing order.
    function accepted(uint256 round) external view returns (uint16[] memory);

    /// @notice Their contribution scores, in the same order; none where credits go by weight class.
    function scores(uint256 round) external view returns (uint32[] memory);

    /// @notice Whether the round's proposal rests on that artifact, by a proof against the root that is on record.
    /// @dev Leaves are keccak256(keccak256(abi.encode(kind, institution, hash))), pairs are hashed in sorted order.
    function isArtifact(uint256 round, ArtifactKind kind, uint16 institution, bytes32 hash, bytes32[] calldata proof)
        external
        view
        returns (bool);
}
