// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The ledger of one FedChest study: who takes part, what each round committed, and what became of it.
/// @notice Holds hashes, public weight classes, privacy spend and votes. No image, update or patient datum goes on chain.
/// A round goes None -> Open -> Proposed -> Finalized, or to Void from Open or Proposed. At most one round is live.
interface IFedChestLedger {
    // ------------------------------------------------------------------------------------------------------- types

    enum Phase { None, Open, Proposed, Finalized, Void }

    enum VoidCause { Abandoned, Rejected, Expired }

    /// @param study Hash of the study document, which fixes everything that the contract does not enforce itself.
    /// @param submissionSeconds Time from a round's opening in which updates are taken.
    /// @param attestationSeconds Time from a proposal in which attestations count.
    /// @param cohortSize Institutions drawn for a round; 0 stands for all that are registered.
    /// @param minimumAccepted Fewest accepted updates that a proposal may rest on.
    /// @param crashOnly Quorum floor(n/2)+1, which tolerates crashes only, instead of floor(2n/3)+1.
    struct Rules {
        bytes32 study;
        uint32 submissionSeconds;
        uint32 attestationSeconds;
        uint16 cohortSize;
        uint16 minimumAccepted;
        bool crashOnly;
    }

    /// @param wallet The only address that submits and attests for the institution.
    /// @param weightClass Its agreed, public weight in the aggregate; never a patient count.
    /// @param epsilonBudget Most that its patients may spend, in micro-units of epsilon.
    /// @param epsilonSpent Cumulative epsilon of its last submission, in micro-units.
    /// @param credits Rewards so far; they can't be transferred.
    struct Institution {
        address wallet;
        uint16 weightClass;
        uint64 epsilonBudget;
        uint64 epsilonSpent;
        uint64 credits;
    }

    /// @param members How many institutions take part.
    /// @param quorum Agreeing attestations that finalize the round.
    /// @param agreeing Attestations that counted for the proposal.
    /// @param disagreeing Attestations that counted against it.
    /// @param deadline Last second (block time) of the present phase.
    /// @param openedBlock Block in which the round opened.
    /// @param baseModel Hash of the global model that the round starts from.
    /// @param config Hash of the round's configuration.
    /// @param newModel Hash of the proposed global model; zero before a proposal.
    /// @param record Hash of the coordinator's record of the aggregation.
    struct Round {
        Phase phase;
        uint16 members;
        uint16 quorum;
        uint16 agreeing;
        uint16 disagreeing;
        uint64 deadline;
        uint64 openedBlock;
        bytes32 baseModel;
        bytes32 config;
        bytes32 newModel;
        bytes32 record;
    }

    /// @param institution The institution whose update was not aggregated.
    /// @param reason Why: an append-only code, never zero; the names are in fedchest/refusals.py.
    struct Refusal {
        uint16 institution;
        uint8 reason;
    }

    // ------------------------------------------------------------------------------------------------------ events

    event StudyCreated(address indexed coordinator, Rules rules, bytes32 initialModel, bytes32 provenance);
    event InstitutionRegistered(
        uint16 indexed institution, address indexed wallet, uint16 weightClass, uint64 epsilonBudget
    );
    event RoundOpened(
        uint256 indexed round, bytes32 baseModel, bytes32 config, uint16[] members, uint16 quorum, uint64 deadline
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
    event UpdateRefused(uint256 indexed round, uint16 indexed institution, uint8 reason);
    event AggregateProposed(
        uint256 indexed round, bytes32 newModel, bytes32 record, uint16[] accepted, uint64 deadline
    );
    event Attested(
        uint256 indexed round, uint16 indexed institution, bytes32 recomputedModel, uint8 checks, bool agrees
    );
    event Credited(uint256 indexed round, uint16 indexed institution, uint64 amount);
    event RoundFinalized(uint256 indexed round, bytes32 newModel);
    event RoundVoided(uint256 indexed round, VoidCause cause);

    // ------------------------------------------------------------------------------------------------------ errors

    error InvalidRules();
    error EmptyModel();
    error NotCoordinator(address caller);
    error InvalidWallet(address wallet);
    error WalletTaken(address wallet, uint16 institution);
    error InvalidWeightClass();
    error RoundLive(uint256 round);
    error TooFewInstitutions(uint16 registered, uint16 needed);
    error UnknownInstitution(address wallet);
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

    // ----------------------------------------------------------------------------------------------------- actions

    /// @notice Register an institution; ids follow the order of registration. Coordinator only, while no round is live.
    function registerInstitution(address wallet, uint16 weightClass, uint64 epsilonBudget)
        external
        returns (uint16 institution);

    /// @notice Open the next round from the present global model. Coordinator only, while no round is live.
    /// @dev A cohort is drawn from the last block's hash: fair among institutions, but whoever produces blocks can
    /// discard hashes until the draw suits.
    function openRound(bytes32 config) external returns (uint256 round);

    /// @notice Commit to an update, once a round, from the institution's own wallet, before the deadline.
    /// @param epsilon Cumulative epsilon of the institution's patients, this round included, in micro-units.
    function submitUpdate(
        uint256 round,
        bytes32 baseModel,
        bytes32 sealedHash,
        bytes32 plaintextHash,
        bytes32 manifestHash,
        uint16 weightClass,
        uint64 epsilon
    ) external;

    /// @notice Propose the aggregate of an open round. Coordinator only; both lists strictly increasing, no overlap.
    function proposeAggregate(
        uint256 round,
        bytes32 newModel,
        uint16[] calldata accepted,
        Refusal[] calldata refusals,
        bytes32 record
    ) external;

    /// @notice Give up an open round, with the refusals on record. Coordinator only.
    function abandonRound(uint256 round, Refusal[] calldata refusals) external;

    /// @notice Vote on a proposal with the model hash that the member computed itself, once a round.
    /// @dev After the outcome, until the next round opens, a vote is put on record and changes nothing.
    /// @param checks Bit mask of the checks that passed; see REQUIRED_CHECKS.
    function attest(uint256 round, bytes32 recomputedModel, uint8 checks) external;

    /// @notice Void a live round whose deadline has passed. Anyone may call it.
    function expireRound(uint256 round) external;

    // ------------------------------------------------------------------------------------------------------- views

    /// @notice Checks that an agreeing attestation must have passed: 1 own update accepted under its own commitment or
    /// rightly absent, 2 base model and lineage, 4 weight classes, 8 hash of the new model. The attestation of this
    /// version is partial: the sum itself is not among them.
    function REQUIRED_CHECKS() external view returns (uint8);

    /// @notice Credits that a finalized round splits among the accepted by weight class, rounded down.
    function ROUND_CREDITS() external view returns (uint64);

    function coordinator() external view returns (address);
    function rules() external view returns (Rules memory);
    function globalModel() external view returns (bytes32);
    function currentRound() external view returns (uint256);
    function institutionCount() external view returns (uint16);

    /// @notice The institution of that id; all zero if there is none.
    function institution(uint16 id) external view returns (Institution memory);

    /// @notice The id registered for a wallet. Reverts with UnknownInstitution.
    function idOf(address wallet) external view returns (uint16);

    /// @notice The round of that number; phase None if it never opened.
    function round(uint256 number) external view returns (Round memory);

    function isMember(uint256 round, uint16 institution) external view returns (bool);

    /// @notice What the institution committed to in the round; zero if nothing.
    function commitment(uint256 round, uint16 institution) external view returns (bytes32);

    function hasAttested(uint256 round, uint16 institution) external view returns (bool);

    /// @notice The institutions whose updates the proposal rests on, in increasing order.
    function accepted(uint256 round) external view returns (uint16[] memory);
}
